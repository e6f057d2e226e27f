import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { SetContextLink } from "@apollo/client/link/context";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { relayStylePagination } from "@apollo/client/utilities";
import { OperationTypeNode } from "graphql";
import { createClient } from "graphql-ws";
import { WebSocket } from "ws"; // Node 20 has none of its own; browsers do
import possibleTypes from "../generated/possibleTypes.js";
import { keepNewer, resume } from "./links.js";

/** A client for the API at `url`; `token` is asked for each request, and again whenever the socket reconnects. */
export function connect(url: string, token: () => string | Promise<string>): ApolloClient {
  const cache = new InMemoryCache({
    ...possibleTypes,
    typePolicies: { Query: { fields: { executions: relayStylePagination(["filter", "orderBy"]) } } },
  });

  const authorize = new SetContextLink(async () => ({ headers: { Authorization: `Bearer ${await token()}` } }));
  const http = ApolloLink.from([keepNewer, authorize, new HttpLink({ uri: url })]);

  const socket = createClient({
    url: url.replace(/^http/, "ws"),
    webSocketImpl: WebSocket,
    connectionParams: async () => ({ Authorization: `Bearer ${await token()}` }),
    // By default a connection that is refused, as by a server that restarts, is not tried again.
    shouldRetry: () => true,
    retryAttempts: Infinity,
    retryWait: (tries) => pause(Math.random() * Math.min(250 * 2 ** tries, 5_000)),
  });
  const ws = ApolloLink.from([resume, new GraphQLWsLink(socket)]);

  const isLive = ({ operationType }: ApolloLink.Operation) => operationType === OperationTypeNode.SUBSCRIPTION;
  return new ApolloClient({ cache, link: ApolloLink.split(isLive, ws, http) });
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
