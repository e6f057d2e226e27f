import { CombinedGraphQLErrors, type ApolloCache, type ApolloClient } from "@apollo/client";
import { concatMap, defer, map, of, retry, tap, throwError, type Observable } from "rxjs";
import {
  ExecutionRowFragmentDoc,
  ExecutionsDocument,
  FeedDocument,
  StartExecutionDocument,
  type ExecutionRowFragment,
  type FeedSubscription,
  type StartExecutionMutation,
} from "../generated/graphql.js";
import type { Json } from "../json.js";

export type Event = FeedSubscription["executionFeed"];
export type Row = ExecutionRowFragment;
export type Started = StartExecutionMutation["startExecution"];

/** Reads the newest executions into the cache, then every change of any of them, and tells of each event. */
export function watchExecutions(client: ApolloClient): Observable<Event> {
  return defer(() => client.query({ query: ExecutionsDocument, fetchPolicy: "network-only" })).pipe(
    concatMap(({ data }) => client.subscribe({ query: FeedDocument, variables: { after: data!.executions.feedCursor } })),
    map(({ data, error }) => data?.executionFeed ?? fail(error)),
    tap((event) => event.type === "EXECUTION_CREATED" && putFirst(client.cache, event.execution.id)),
    // Away for longer than events are kept: the list is read anew.
    retry({ delay: (error) => (isExpired(error) ? of(true) : throwError(() => error)) }),
  );
}

/** Starts a workflow, and shows it in the list before the server has answered. */
export async function startExecution(
  client: ApolloClient,
  workflow: { id: string; name: string },
  input: Json,
): Promise<Started> {
  const { data } = await client.mutate({
    mutation: StartExecutionDocument,
    variables: { input: { workflowId: workflow.id, input, idempotencyKey: crypto.randomUUID() } },
    optimisticResponse: { startExecution: likely(workflow) },
    update: (cache, { data }) => {
      if (data?.startExecution.__typename === "StartExecutionSuccess") putFirst(cache, data.startExecution.execution.id);
    },
  });
  return data!.startExecution;
}

function likely(workflow: { id: string; name: string }): Started {
  const execution: Row = {
    __typename: "Execution",
    id: `optimistic-${crypto.randomUUID()}`,
    status: "PENDING",
    version: 0,
    createdAt: new Date().toISOString(),
    labels: [],
    workflow: { __typename: "Workflow", ...workflow },
  };
  return { __typename: "StartExecutionSuccess", execution, cursor: "", replayed: false };
}

function putFirst(cache: ApolloCache, id: string): void {
  // As it is by now: what the event or the answer said may be old.
  const node = cache.readFragment({ id: `Execution:${id}`, fragment: ExecutionRowFragmentDoc, fragmentName: "ExecutionRow" });
  cache.updateQuery({ query: ExecutionsDocument }, (list) => {
    if (!node || !list || list.executions.edges.some((edge) => edge.node.id === id)) return list;
    const { edges, totalCount } = list.executions;
    const edge = { __typename: "ExecutionEdge" as const, cursor: "", node };
    return { executions: { ...list.executions, edges: [edge, ...edges], totalCount: totalCount + 1 } };
  });
}

function isExpired(error: unknown): boolean {
  return CombinedGraphQLErrors.is(error) && error.errors.some(({ extensions }) => extensions?.["code"] === "CURSOR_EXPIRED");
}

function fail(error: unknown): never {
  throw error;
}
