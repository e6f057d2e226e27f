import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { onEnd, pipe, subscribe } from "wonka";
import { streamFrom } from "./graphql-sse.mjs";
import { socketTo } from "./graphql-ws.mjs";

/** An urql client whose subscriptions go over a client of graphql-ws or graphql-sse. */
export function connect(url, subscriptions) {
  return new Client({
    url,
    exchanges: [
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: ({ query, variables }) => ({
          subscribe: (sink) => ({ unsubscribe: subscriptions.subscribe({ query: query ?? "", variables }, sink) }),
        }),
      }),
    ],
  });
}

/** An urql client that needs no other library: it asks for a stream with its own fetch. */
export function connectByFetch(url, token) {
  return new Client({
    url,
    exchanges: [fetchExchange],
    fetchSubscriptions: true,
    fetchOptions: () => ({ headers: { Authorization: `Bearer ${token()}` } }),
  });
}

/** Follows a subscription over a WebSocket. */
export function watchOverSocket({ url, token, query, variables }, sink) {
  watch(connect(url, socketTo(url, token)), query, variables, sink);
}

/** Follows a subscription over server-sent events. */
export function watchOverStream({ url, token, query, variables }, sink) {
  watch(connect(url, streamFrom(url, token)), query, variables, sink);
}

/** Follows a subscription over urql's own fetch. */
export function watchByFetch({ url, token, query, variables }, sink) {
  watch(connectByFetch(url, token), query, variables, sink);
}

function watch(client, query, variables, { next, error, complete }) {
  pipe(
    client.subscription(query, variables),
    onEnd(complete),
    // At the end urql gives the last result once more.
    subscribe((result) => (result.error ? error(result.error) : result.hasNext && next(result))),
  );
}
