import "./workers.js";
import { GraphiQL } from "graphiql";
import { createRoot } from "react-dom/client";
import { createFetcher } from "./fetcher.js";
import { HeadersFollowTabs, SchemaFollowsHeaders, parsedJson } from "./headers.jsx";
import { StatusLine } from "./status.jsx";
import { openStorage, withoutHeaders } from "./storage.js";
import { prepareTabs } from "./tabs.js";
import "./styles.css";

const PREFIX = "temporal-graphql:";
const HEADERS_KEY = "headers";

const WELCOME = {
  name: "Viewer",
  query: `# Put your token into "Headers" below:
#
#   {"Authorization": "Bearer ..."}
#
# then press the play button, or Ctrl-Enter.

query Viewer {
  viewer {
    id
    scopes
    tokenExpiresAt
  }
}
`,
};

const { endpoint = "/graphql", headers, operations = [WELCOME] } = JSON.parse(
  document.getElementById("playground-config").textContent,
);

const storage = withoutHeaders(openStorage("localStorage", PREFIX));
const session = openStorage("sessionStorage", PREFIX);

const pretty = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
const samples = operations.map(({ name, query, variables = "" }) => ({ name, query, variables: pretty(variables) }));
const firstTab = prepareTabs(storage, samples);

const lastHeaders = () => session.getItem(HEADERS_KEY) ?? "";
const keepHeaders = (text) => text.trim() && session.setItem(HEADERS_KEY, text);
const startHeaders = headers ? () => pretty(headers) : lastHeaders;

createRoot(document.getElementById("root")).render(
  <GraphiQL
    fetcher={createFetcher(endpoint, parsedJson(startHeaders()))}
    storage={storage}
    initialQuery={firstTab.query ?? ""}
    initialVariables={firstTab.variables ?? ""}
    defaultHeaders={startHeaders()}
    defaultEditorToolsVisibility={headers ? "variables" : "headers"}
    shouldPersistHeaders={false}
    onEditHeaders={headers ? undefined : keepHeaders}
    inputValueDeprecation
    schemaDescription
  >
    <GraphiQL.Logo>temporal-graphql</GraphiQL.Logo>
    <GraphiQL.Footer>
      <StatusLine />
    </GraphiQL.Footer>
    <SchemaFollowsHeaders />
    <HeadersFollowTabs headers={startHeaders} />
  </GraphiQL>,
);
