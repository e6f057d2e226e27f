import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { SetContextLink } from "@apollo/client/link/context";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { socketTo } from "./graphql-ws.mjs";

/** Follows a subscription over a WebSocket. */
export function watchOverSocket({ url, token, query, variables }, sink) {
  watch(new GraphQLWsLink(socketTo(url, token)), query, variables, sink);
}

/** Follows a subscription over HTTP alone: HttpLink asks for a multipart stream by itself. */
export function watchOverHttp({ url, token, query, variables }, sink) {
  const authorize = new SetContextLink(async () => ({ headers: { Authorization: `Bearer ${await token()}` } }));
  watch(ApolloLink.from([authorize, new HttpLink({ uri: url })]), query, variables, sink);
}

function watch(link, query, variables, { next, error, complete }) {
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  client.subscribe({ query: gql(query), variables }).subscribe({
    next: (result) => (result.error ? error(result.error) : next(result)),
    error,
    complete,
  });
}
