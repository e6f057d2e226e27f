"""Executions started."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from app import doorbells, inputs, starter
from app.auth import WRITE_EXECUTIONS
from app.db import Transaction
from app.errors import InvalidInput, Issue, Unavailable
from app.records import Draft, ExecutionRecord, WorkflowRecord
from app.store import events as event_store
from app.store import executions as store
from app.store import requests
from app.store import workflows as workflow_store
from app.store.tracking import StartRequest
from app.tables import EventType, ExecutionStatus
from app.temporal import WORKFLOW_ID_PREFIX
from resolvers.context import Context, parse_id
from resolvers.outcome import Outcome, append


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
    return await append(tx, await store.create(tx, values), draft)


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
