// Sends hashes and ids instead of documents: URL=http://… TOKEN=… NAMES=hash node persisted.js. With GET=true it does so
// by GET where it can, and with ACCEPT=… it accepts that media type alone. NAMES may also be `codegen`, for the ids in
// generated/trusted, or the file of an Apollo manifest. Prints each request, and then what came of it all.
import { readFile } from "node:fs/promises";
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { SetContextLink } from "@apollo/client/link/context";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { generatePersistedQueryIdsFromManifest } from "@apollo/persisted-query-lists";
import type { DocumentNode } from "graphql";
import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { ExecutionsDocument } from "../generated/graphql.js";
import { ExecutionsDocument as TrustedDocument } from "../generated/trusted/graphql.js";

const { URL: url = "", TOKEN = "", NAMES = "", GET, ACCEPT: accept } = process.env;
const Authorization = `Bearer ${TOKEN}`;

/** Sends a query's hash, and its text only if the server asks for it. */
const byHash = new PersistedQueryLink({ sha256, useGETForHashedQueries: GET === "true" });

async function sha256(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Sends the id that graphql-codegen gave a document in persisted-documents.json. */
const byId = new PersistedQueryLink({
  generateHash: (document) => (document as DocumentNode & { __meta__: { hash: string } }).__meta__.hash,
});

/** Sends the id that Apollo's generate-persisted-query-manifest gave an operation. */
const byManifest = new PersistedQueryLink(
  generatePersistedQueryIdsFromManifest({ loadManifest: async () => JSON.parse(await readFile(NAMES, "utf8")) }),
);

const request = globalThis.fetch;
globalThis.fetch = (async (input: RequestInfo, init?: RequestInit) => {
  const answer = await request(input, init);
  say({ sent: init?.method, text: `${String(input)} ${String(init?.body)}`.includes("totalCount"), status: answer.status });
  return answer;
}) as typeof fetch;

function say(what: Record<string, unknown>): void {
  process.stdout.write(JSON.stringify(what) + "\n");
}

/** A subscription by its hash alone, over a WebSocket. */
async function overSocket(query: string): Promise<void> {
  const socket = createClient({
    url: url.replace(/^http/, "ws"),
    webSocketImpl: WebSocket,
    connectionParams: { Authorization },
  });
  const extensions = { persistedQuery: { version: 1, sha256Hash: await sha256(query) } };
  for (const text of ["", query, ""]) {
    try {
      for await (const { data } of socket.iterate({ query: text, extensions })) say({ socket: data });
    } catch (errors) {
      say({ socket: (errors as { message: string }[]).map(({ message }) => message) });
    }
  }
  await socket.dispose();
}

const authorize = new SetContextLink(() => ({ headers: { Authorization } }));
const naming = { hash: byHash, codegen: byId }[NAMES] ?? byManifest;
const link = ApolloLink.from([authorize, naming, new HttpLink({ uri: url, headers: accept ? { accept } : {} })]);
const client = new ApolloClient({ cache: new InMemoryCache(), link });
const query = NAMES === "codegen" ? TrustedDocument : ExecutionsDocument;
for (const _ of ["first", "second"]) {
  const { data } = await client.query({ query, fetchPolicy: "network-only" });
  say({ total: data?.executions.totalCount });
}
if (NAMES === "hash") await overSocket("query Who { viewer { id } }");
client.stop();
