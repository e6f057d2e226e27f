import { createClient } from "graphql-ws";
import { WebSocket } from "ws"; // Node 20 has none of its own; browsers do

/** A socket to the API at `url`; `token` is asked for again whenever it reconnects. */
export function socketTo(url, token) {
  return createClient({
    url: url.replace(/^http/, "ws"),
    webSocketImpl: WebSocket,
    connectionParams: async () => ({ Authorization: `Bearer ${await token()}` }),
    // By default a connection that is refused, as by a server that restarts, is not tried again.
    shouldRetry: () => true,
    retryAttempts: Infinity,
    retryWait: (tries) => new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(250 * 2 ** tries, 5_000))),
  });
}

/** Follows a subscription; put each event's cursor into `variables.after`, and a reconnect goes on from there. */
export function watch({ url, token, query, variables }, sink) {
  socketTo(url, token).subscribe({ query, variables }, sink);
}
