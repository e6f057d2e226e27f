import type { CodegenConfig } from "@graphql-codegen/cli";

const config: CodegenConfig = {
  schema: "../../schema.graphql",
  documents: "operations/*.graphql",
  importExtension: ".js",
  generates: {
    "generated/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      config: {
        strictScalars: true,
        useTypeImports: true,
        scalars: { ID: "string", DateTime: "string", JSON: "../json.js#Json" },
        // Apollo Client adds `__typename` to every selection.
        nonOptionalTypename: true,
        skipTypeNameForRoot: true,
      },
    },
    "generated/possibleTypes.ts": { plugins: ["fragment-matcher"] },
  },
};

export default config;
