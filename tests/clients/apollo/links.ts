import { ApolloLink, isReference, type NormalizedCacheObject } from "@apollo/client";
import { map, tap } from "rxjs";

/** Lets a subscription go on after the last event it got when its socket reconnects: it needs `$after` and `cursor`. */
export const resume = new ApolloLink((operation, forward) => {
  // graphql-ws sends the variables again over each new socket, as they are by then.
  const variables = (operation.variables = { ...operation.variables });
  return forward(operation).pipe(
    tap(({ data }) => {
      for (const event of Object.values(data ?? {})) variables["after"] = event?.cursor ?? variables["after"];
    }),
  );
});

/** Lets no answer that events have overtaken take an execution in the cache back to an older `version`. */
export const keepNewer = new ApolloLink((operation, forward) =>
  forward(operation).pipe(map((answer) => newer(answer, operation.client.cache.extract() as NormalizedCacheObject))),
);

function newer<T>(value: T, cached: NormalizedCacheObject): T {
  if (Array.isArray(value)) return value.map((each) => newer(each, cached)) as T;
  if (typeof value !== "object" || value === null) return value;
  const { __typename, id, version } = value as { __typename?: string; id?: string; version?: number };
  const known = __typename === "Execution" ? cached[`Execution:${id}`] : undefined;
  const isNewer = Number(known?.["version"]) > Number(version);
  const fields = Object.entries(value).map(([name, own]) => {
    const kept = isNewer ? known?.[name] : undefined;
    return [name, kept === undefined || isReference(kept) ? newer(own, cached) : kept];
  });
  return Object.fromEntries(fields) as T;
}
