"""What tests begin with: workflows, executions, and the operations most of them send."""

import asyncio
from typing import Any

from tests.client import Client

CREATE_WORKFLOW = """
mutation ($input: CreateWorkflowInput!) {
  createWorkflow(input: $input) {
    __typename
    ... on CreateWorkflowSuccess { workflow { id name } }
    ... on Error { code message }
    ... on InvalidInputError { issues { path message } }
  }
}
"""
START = """
mutation ($input: StartExecutionInput!) {
  startExecution(input: $input) {
    __typename
    ... on StartExecutionSuccess { cursor execution { id status version temporalWorkflowId temporalRunId } }
    ... on Error { code message }
    ... on InvalidInputError { issues { path message } }
  }
}
"""
CANCEL = """
mutation ($input: CancelExecutionInput!) {
  cancelExecution(input: $input) {
    __typename
    ... on CancelExecutionSuccess { cursor execution { id status version } }
    ... on Error { code message }
    ... on InvalidTransitionError { from to allowedActions }
    ... on VersionConflictError { execution { version } }
  }
}
"""
EVENTS = """
subscription ($id: ID!, $after: String) {
  executionEvents(executionId: $id, after: $after) {
    id cursor type status version message timestamp actor details
    execution { id status version }
  }
}
"""
FEED = """
subscription ($after: String) {
  executionFeed(after: $after) { id cursor type status version execution { id status version } }
}
"""


async def workflow(client: Client, task_queue: str, workflow_type: str = "OrderWorkflow", **more: Any) -> str:
    """A registered workflow's id."""
    input = {"name": workflow_type, "workflowType": workflow_type, "taskQueue": task_queue, **more}
    created = (await client.data(CREATE_WORKFLOW, input=input))["createWorkflow"]
    assert created["__typename"] == "CreateWorkflowSuccess", created
    return str(created["workflow"]["id"])


async def start(client: Client, workflow_id: str, input: Any = None) -> dict[str, Any]:
    """A started execution: `{id, status, version, ..., cursor}`."""
    started = (await client.data(START, input={"workflowId": workflow_id, "input": input}))["startExecution"]
    assert started["__typename"] == "StartExecutionSuccess", started
    return {**started["execution"], "cursor": started["cursor"]}


async def events(client: Client, execution_id: str, after: str | None = None) -> list[dict[str, Any]]:
    """All events of an execution, watched to its end."""
    async with asyncio.timeout(60):
        return [
            result["executionEvents"] async for result in client.watch(EVENTS, id=execution_id, after=after)
        ]
