"""What tests begin with: workflows, executions, and the operations most of them send."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlmodel import col, update

from app.records import Draft
from app.store import events as event_store
from app.store import tracking
from app.tables import EventType, ExecutionStatus, Workflow
from resolvers.context import Services
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
RERUN = """
mutation ($input: RerunExecutionInput!) {
  rerunExecution(input: $input) {
    __typename
    ... on RerunExecutionSuccess {
      cursor execution { id status version input labels { key value } rerunOf { id } workflow { id } }
    }
    ... on Error { code message }
    ... on InvalidInputError { issues { path message } }
    ... on IdempotencyConflictError { execution { id } }
  }
}
"""
UPDATE_WORKFLOW = """
mutation ($input: UpdateWorkflowInput!) {
  updateWorkflow(input: $input) {
    __typename
    ... on UpdateWorkflowSuccess {
      workflow { id name description workflowType taskQueue inputSchema executionTimeout createdAt updatedAt }
    }
    ... on Error { code message }
    ... on InvalidInputError { issues { path message } }
  }
}
"""
ARCHIVE_WORKFLOW = """
mutation ($id: ID!) {
  archiveWorkflow(id: $id) {
    __typename
    ... on ArchiveWorkflowSuccess { workflow { id name archivedAt updatedAt } }
    ... on Error { code message }
  }
}
"""
TERMINATE = """
mutation ($input: TerminateExecutionInput!) {
  terminateExecution(input: $input) {
    __typename
    ... on TerminateExecutionSuccess {
      cursor execution { id status version completedAt allowedActions failure { reason message } }
    }
    ... on Error { code message }
    ... on NotFoundError { id }
    ... on ForbiddenError { requiredScope }
    ... on InvalidTransitionError { from to allowedActions }
    ... on VersionConflictError { execution { id status version } }
    ... on UnavailableError { retryAfter }
  }
}
"""
SIGNAL = """
mutation ($input: SignalExecutionInput!) {
  signalExecution(input: $input) {
    __typename
    ... on SignalExecutionSuccess { cursor execution { id status version } }
    ... on Error { code message }
    ... on InvalidInputError { issues { path message } }
    ... on InvalidTransitionError { from to allowedActions }
  }
}
"""
UPDATE = """
mutation ($input: UpdateExecutionInput!) {
  updateExecution(input: $input) {
    __typename
    ... on UpdateExecutionSuccess {
      cursor
      execution {
        id status version output allowedActions completedAt labels { key value } failure { reason message }
      }
    }
    ... on Error { code message }
    ... on InvalidInputError { issues { path message } }
    ... on InvalidTransitionError { from to allowedActions }
    ... on VersionConflictError { execution { id status version } }
    ... on UnavailableError { retryAfter }
  }
}
"""
HISTORY = """
query ($id: ID!) {
  execution(id: $id) {
    history(first: 100) { nodes { type status version actor message details } }
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


async def archive(services: Services, workflow_id: str) -> None:
    """Archive a workflow behind the API's back, on the 8th of January 2026."""
    moment = datetime(2026, 1, 8, tzinfo=UTC)
    async with services.db.write() as tx:
        await tx.connection.execute(
            update(Workflow).where(col(Workflow.id) == UUID(workflow_id)).values(archived_at=moment)
        )


async def start(client: Client, workflow_id: str, input: Any = None, **more: Any) -> dict[str, Any]:
    """A started execution: `{id, status, version, ..., cursor}`."""
    given = {"workflowId": workflow_id, "input": input, **more}
    started = (await client.data(START, input=given))["startExecution"]
    assert started["__typename"] == "StartExecutionSuccess", started
    return {**started["execution"], "cursor": started["cursor"]}


async def asked(client: Client, mutation: str, id: str, **more: Any) -> dict[str, Any]:
    """What a mutation of one execution answers, whatever that is."""
    (result,) = (await client.data(mutation, input={"id": id, **more})).values()
    found: dict[str, Any] = result
    return found


async def history(client: Client, id: str) -> list[dict[str, Any]]:
    """What is recorded of an execution by now."""
    nodes: list[dict[str, Any]] = (await client.data(HISTORY, id=id))["execution"]["history"]["nodes"]
    assert [node["version"] for node in nodes] == list(range(1, len(nodes) + 1))
    return nodes


async def stuck(client: Client) -> dict[str, Any]:
    """A running execution that no worker ever takes: nothing but a caller changes it."""
    return await start(client, await workflow(client, f"nobody-{uuid4().hex}"))


async def waiting(client: Client, task_queue: str) -> dict[str, Any]:
    """An execution that runs until it gets the signal `approve`: nothing ends it meanwhile."""
    return await start(client, await workflow(client, task_queue, "GreetingWorkflow"), "Ada")


async def paid(client: Client, task_queue: str) -> dict[str, Any]:
    """An execution of six events that ends by itself, without a timer: the quickest there is."""
    payment = await workflow(client, task_queue, "PaymentWorkflow")
    return await start(client, payment, {"succeed_on_attempt": 1})


async def recorded(services: Services, owner: str, workflow_id: str, count: int, **more: Any) -> list[str]:
    """The ids of executions that are in the log as if started, oldest first, but unknown to Temporal.

    Two by two they share their time of creation. `more` are further columns.
    """
    ids = sorted((uuid4() for _ in range(count)), key=str)
    first = datetime.now(UTC)
    for place, id in enumerate(ids):
        moment = first + timedelta(milliseconds=place // 2)
        values = {
            "id": id,
            "owner_id": owner,
            "workflow_id": UUID(workflow_id),
            "status": ExecutionStatus.PENDING,
            "input": {"place": place},
            "started_by": owner,
            "temporal_workflow_id": f"recorded-{id}",
            "start_unsettled": False,
            "created_at": moment,
            "updated_at": moment,
            **more,
        }
        async with services.db.write() as tx:
            await event_store.create(tx, values, Draft(EventType.EXECUTION_CREATED, "Created", moment))
    return [str(id) for id in ids]


async def note(services: Services, execution_id: str, count: int = 1, details: Any = None) -> None:
    """Append events to an open execution as its tracker would: with notice to all who watch."""
    async with services.db.write() as tx:
        tracked = await tracking.lock(tx, UUID(execution_id))
        draft = Draft(EventType.EXECUTION_UPDATED, "Noted", datetime.now(UTC), details=details)
        await event_store.append(tx, tracked.execution, [draft] * count)


async def holdings(client: Client) -> Any:
    """What every mutation of the user's objects changes: compare it before and after one that may not."""
    return await client.data(
        "{ executions { feedCursor totalCount } workflows(includeArchived: true) { totalCount } }"
    )


async def events(client: Client, execution_id: str, after: str | None = None) -> list[dict[str, Any]]:
    """All events of an execution, watched to its end."""
    async with asyncio.timeout(60):
        return [
            result["executionEvents"] async for result in client.watch(EVENTS, id=execution_id, after=after)
        ]
