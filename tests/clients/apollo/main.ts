// A frontend without a screen: it does what it is told on standard input, one JSON line each, and prints as JSON lines
// what a user would see. The tests of test_apollo.py drive it: URL=http://… TOKENS="… …" node main.js
// Each time that a token is asked for it is the next of TOKENS, and the last from then on.
import { createInterface } from "node:readline";
import { ExecutionsDocument } from "../generated/graphql.js";
import type { Json } from "../json.js";
import { connect } from "./client.js";
import { startExecution, watchExecutions } from "./executions.js";

type Command =
  | { do: "watch" | "more" | "hold" | "release" }
  | { do: "start"; workflow: { id: string; name: string }; input: Json };

const { URL: url = "", TOKENS = "" } = process.env;
const tokens = TOKENS.split(" ");

let released: Promise<void> | undefined;
let release = () => {};
const request = globalThis.fetch;
globalThis.fetch = (async (input: RequestInfo, init?: RequestInit) => {
  const answer = await request(input, init);
  if (released) say({ held: answer.status });
  await released;
  return answer;
}) as typeof fetch;

const client = connect(url, () => {
  say({ tokens: tokens.length });
  return (tokens.length > 1 ? tokens.shift() : tokens[0]) ?? "";
});
const list = client.watchQuery({ query: ExecutionsDocument });

function say(what: Record<string, unknown>): void {
  process.stdout.write(JSON.stringify(what) + "\n");
}

function showList(): void {
  list.subscribe(({ data, dataState }) => {
    if (dataState !== "complete") return;
    const { edges, pageInfo, totalCount } = data.executions;
    const rows = edges.map(({ node: { id, status, version } }) => ({ id, status, version }));
    say({ list: rows, more: pageInfo.hasNextPage, total: totalCount });
  });
}

async function obey(command: Command): Promise<void> {
  switch (command.do) {
    case "watch":
      showList();
      watchExecutions(client).subscribe({
        next: ({ cursor, type, execution: { id } }) => say({ event: cursor, type, id }),
        error: (error) => say({ error: String(error) }),
      });
      return;
    case "more": {
      const { data, dataState } = list.getCurrentResult();
      if (dataState === "complete") await list.fetchMore({ variables: { after: data.executions.pageInfo.endCursor } });
      return;
    }
    case "start":
      return say({ started: await startExecution(client, command.workflow, command.input) });
    case "hold":
      released = new Promise((resolve) => (release = resolve));
      return;
    case "release":
      return release();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  void obey(JSON.parse(line) as Command).catch((error: unknown) => say({ error: String(error) }));
}
client.stop();
process.exit();
