// Follows one execution to its end with each client that is named, all at once, and prints what each is told:
// URL=http://… TOKENS="… …" EXECUTION=… node main.mjs graphql-ws urql-sse …
// Each time that a client asks for a token it gets the next of TOKENS, and the last from then on.
import { watchOverHttp, watchOverSocket } from "./apollo.mjs";
import { watch as watchBySse } from "./graphql-sse.mjs";
import { watch as watchByWs } from "./graphql-ws.mjs";
import * as urql from "./urql.mjs";

const CLIENTS = {
  "graphql-ws": watchByWs,
  "graphql-sse": watchBySse,
  "apollo-ws": watchOverSocket,
  "apollo-multipart": watchOverHttp,
  "urql-ws": urql.watchOverSocket,
  "urql-sse": urql.watchOverStream,
  "urql-fetch": urql.watchByFetch,
};
const QUERY = `
  subscription Watch($id: ID!, $after: String) {
    executionEvents(executionId: $id, after: $after) { cursor type status version }
  }
`;

const { URL: url, TOKENS, EXECUTION } = process.env;

function follow(client) {
  const tokens = TOKENS.split(" ");
  const token = () => {
    say({ client, tokens: tokens.length });
    return tokens.length > 1 ? tokens.shift() : tokens[0];
  };
  const variables = { id: EXECUTION, after: null };
  return new Promise((resolve) => {
    CLIENTS[client](
      { url, token, query: QUERY, variables },
      {
        next: ({ data, errors }) => {
          if (errors) return say({ client, error: errors });
          variables.after = data.executionEvents.cursor;
          say({ client, event: data.executionEvents });
        },
        error: (error) => resolve(say({ client, error: String(error) })),
        complete: () => resolve(say({ client, over: true })),
      },
    );
  });
}

function say(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}

await Promise.all(process.argv.slice(2).map(follow));
process.exit();
