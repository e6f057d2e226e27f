import type { CodegenConfig } from "@graphql-codegen/cli";
import { addTypenameSelectionDocumentTransform } from "@graphql-codegen/client-preset";

const config: CodegenConfig = {
  schema: "../../schema.graphql",
  documents: "operations/*.graphql",
  // What is executed is the document in the manifest, and Apollo Client can add nothing to that.
  documentTransforms: [addTypenameSelectionDocumentTransform],
  importExtension: ".js",
  generates: {
    "generated/trusted/": {
      preset: "client",
      presetConfig: { fragmentMasking: false, persistedDocuments: true },
      config: {
        strictScalars: true,
        useTypeImports: true,
        scalars: { ID: "string", DateTime: "string", JSON: "../../json.js#Json" },
        skipTypeNameForRoot: true,
      },
    },
  },
};

export default config;
