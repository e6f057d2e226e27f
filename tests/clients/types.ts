// Compiled and never run: what the generated types allow. The compiler complains of a @ts-expect-error without an error.
import type { ExecutionDetailFragment, StartExecutionInput, StartExecutionMutation } from "./generated/graphql.js";
import type { Json } from "./json.js";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

export const isString: Same<ExecutionDetailFragment["createdAt"], string> = true;
export const isNullable: Same<ExecutionDetailFragment["completedAt"], string | null> = true;
export const isJson: Same<ExecutionDetailFragment["output"], Json | null> = true;
export const isJsonInput: Same<StartExecutionInput["input"], Json | null | undefined> = true;

export const status: ExecutionDetailFragment["status"] = "RUNNING";
// @ts-expect-error: a closed set
export const noStatus: ExecutionDetailFragment["status"] = "ASLEEP";
// @ts-expect-error: a function is no JSON
export const noJson: StartExecutionInput = { workflowId: "1", input: () => 1 };
// @ts-expect-error: the workflow is missing
export const noStart: StartExecutionInput = { input: { customer: "Ada" } };

export function told(result: StartExecutionMutation["startExecution"]): string {
  // @ts-expect-error: only a success has an execution of the caller's own
  const unchecked = result.execution;
  return result.__typename === "StartExecutionSuccess" ? result.execution.id : result.message;
}
