"""Executions: started, read, listed, cancelled."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from app import doorbells, inputs, starter, transitions
from app.auth import READ_EXECUTIONS, WRITE_EXECUTIONS
from app.db import Transaction
from app.errors import InvalidInput, Issue, NotFound, Unavailable, VersionConflict
from app.paging import Page, newest_key, page_size
from app.records import Draft, ExecutionRecord, WorkflowRecord
from app.store import events as event_store
from app.store import executions as store
from app.store import requests, tracking
from app.store import workflows as workflow_store
from app.store.tracking import StartRequest
from app.tables import EventType, ExecutionStatus
from app.temporal import MAX_REASON_CHARACTERS, WORKFLOW_ID_PREFIX, NotRunning, Refused
from resolvers.context import Context, parse_id


@dataclass(frozen=True)
class Outcome:
    """An execution after a mutation, and the feed position up to which that is told."""

    execution: ExecutionRecord
    position: int
    replayed: bool = False


async def execution(context: Context, id: str) -> ExecutionRecord:
    """One execution; raises NotFound or Forbidden."""
    context.caller.require(READ_EXECUTIONS)
    async with context.db.read() as connection:
        return await store.get(connection, context.caller, parse_id("execution", id))


async def executions(context: Context, first: int | None, after: str | None) -> Page[ExecutionRecord]:
    """A page of the caller's executions, newest first; raises InvalidInput."""
    context.caller.require(READ_EXECUTIONS)
    size, key = page_size(first), newest_key(after) if after else None
    async with context.db.read() as connection:
        return await store.newest(connection, context.caller, size, key)


async def execution_count(context: Context) -> int:
    """How many executions the caller's list has in all."""
    async with context.db.read() as connection:
        return await store.count(connection, context.caller)


async def execution_workflow(context: Context, execution: ExecutionRecord) -> WorkflowRecord:
    """The workflow that the execution was started from."""
    found = await context.loaders.workflow.load(execution.workflow_id)
    if found is None:
        raise NotFound("workflow", execution.workflow_id)
    return found


async def execution_input(context: Context, execution: ExecutionRecord) -> Any:
    """The input that the execution was started with."""
    payloads = await context.loaders.payloads.load(execution.id)
    return payloads and payloads[0]


async def execution_output(context: Context, execution: ExecutionRecord) -> Any:
    """The workflow's result; None before it has completed."""
    payloads = await context.loaders.payloads.load(execution.id)
    return payloads and payloads[1]


async def start_execution(
    context: Context, *, workflow_id: str, input: Any, idempotency_key: str | None
) -> Outcome:
    """Start a workflow. The execution stays PENDING, and is started later, while Temporal is away.

    Raises NotFound, Forbidden, InvalidInput or IdempotencyConflict, each before anything is written.
    """
    context.caller.require(WRITE_EXECUTIONS)
    inputs.check(inputs.json("/input", input), inputs.name("/idempotencyKey", idempotency_key))
    async with context.db.read() as connection:
        workflow = await workflow_store.get(connection, context.caller, parse_id("workflow", workflow_id))
    if workflow.archived_at is not None:
        raise InvalidInput([Issue("/workflowId", "is an archived workflow, which cannot be started")])
    async with context.db.write() as tx:
        created = await _create(tx, context, workflow, input, idempotency_key)
    return created if created.replayed else await _start(context, created, workflow, input)


async def _start(context: Context, created: Outcome, workflow: WorkflowRecord, input: Any) -> Outcome:
    try:
        request = _start_request(created.execution, workflow, input)
        started = await starter.start(context.db, context.services.temporal, request)
    except Unavailable:
        return created
    doorbells.tell_new_run(context.services.bus)
    return replace(created, execution=started)


async def cancel_execution(
    context: Context, *, id: str, reason: str | None, expected_version: int | None
) -> Outcome:
    """Ask the workflow to cancel itself; an execution that has not been started is cancelled at once.

    Asking again while it winds up changes nothing. Raises NotFound, Forbidden, InvalidTransition,
    VersionConflict, and Unavailable where Temporal did not take the request.
    """
    context.caller.require(WRITE_EXECUTIONS)
    reason = inputs.storable(reason, MAX_REASON_CHARACTERS)
    async with context.db.write() as tx:
        found = await store.lock(tx, context.caller, parse_id("execution", id))
        if expected_version not in (None, found.version):
            raise VersionConflict(found, expected_version)
        transitions.check(found.status, ExecutionStatus.CANCELLED)
        if found.status is ExecutionStatus.PENDING:
            return await _append(tx, found, _cancelled(context, reason))
    try:
        await context.services.temporal.cancel(found.temporal_workflow_id, context.caller.subject, reason)
    except NotRunning:
        raise Unavailable("The execution has just ended; its end is being recorded.", 1) from None
    except Refused as error:
        raise Unavailable("Temporal refuses to cancel this execution.") from error
    return await _record_cancel_request(context, found, reason)


async def _create(
    tx: Transaction, context: Context, workflow: WorkflowRecord, input: Any, idempotency_key: str | None
) -> Outcome:
    now, id = datetime.now(UTC), uuid4()
    if idempotency_key is not None:
        request = requests.Request(workflow.owner_id, idempotency_key, workflow.id, input)
        earlier = await requests.claim(tx, context.caller, request, id)
        if earlier is not None:
            first = await event_store.first_position(tx.connection, earlier.id)
            return Outcome(earlier, first, replayed=True)
    values = {
        "id": id,
        "owner_id": workflow.owner_id,
        "workflow_id": workflow.id,
        "status": ExecutionStatus.PENDING,
        "input": input,
        "started_by": context.caller.subject,
        "temporal_workflow_id": f"{WORKFLOW_ID_PREFIX}{id}",
        "created_at": now,
        "updated_at": now,
    }
    draft = Draft(EventType.EXECUTION_CREATED, "Created", now, actor=context.caller.subject)
    return await _append(tx, await store.create(tx, values), draft)


def _start_request(execution: ExecutionRecord, workflow: WorkflowRecord, input: Any) -> StartRequest:
    return StartRequest(
        execution_id=execution.id,
        owner_id=execution.owner_id,
        temporal_workflow_id=execution.temporal_workflow_id,
        workflow_type=workflow.workflow_type,
        task_queue=workflow.task_queue,
        input=input,
        execution_timeout_seconds=workflow.execution_timeout,
    )


def _cancelled(context: Context, reason: str | None) -> Draft:
    now = datetime.now(UTC)
    message = f"Cancelled before it was started{': ' + reason if reason else ''}"
    return Draft(
        EventType.EXECUTION_CANCELLED,
        message,
        now,
        ExecutionStatus.CANCELLED,
        actor=context.caller.subject,
        changes={"completed_at": now},
    )


async def _record_cancel_request(context: Context, found: ExecutionRecord, reason: str | None) -> Outcome:
    """Record the request, unless a tracker has read it in Temporal's history already."""
    now = datetime.now(UTC)
    draft = Draft(
        EventType.EXECUTION_CANCEL_REQUESTED,
        f"Cancellation requested{': ' + reason if reason else ''}",
        now,
        actor=context.caller.subject,
        changes={"cancel_requested_at": now},
    )
    async with context.db.write() as tx:
        tracked = await tracking.lock(tx, found.id)
        drafts = [] if tracked.cancel_requested_at else [draft]
        return await _append(tx, tracked.execution, *drafts)


async def _append(tx: Transaction, execution: ExecutionRecord, *drafts: Draft) -> Outcome:
    deliveries = await event_store.append(tx, execution, drafts)
    if deliveries:
        return Outcome(deliveries[-1].execution, deliveries[-1].event.position)
    return Outcome(execution, await event_store.last_position(tx.connection, execution.id))
