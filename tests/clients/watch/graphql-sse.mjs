import { createClient } from "graphql-sse";

/** A client that has a request of its own for each operation. */
export function streamFrom(url, token) {
  return createClient({ url, headers: async () => ({ Authorization: `Bearer ${await token()}` }) });
}

/** Follows a subscription. */
export function watch({ url, token, query, variables }, sink) {
  streamFrom(url, token).subscribe({ query, variables }, sink);
}
