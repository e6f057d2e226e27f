"""Executions started: new ones, and those of old ones anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app import doorbells, inputs, starter
from app.auth import WRITE_EXECUTIONS
from app.db import Plans, Transaction
from app.errors import InvalidInput, Issue, Unavailable
from app.inputs import Label
from app.records import Draft, WorkflowRecord, value
from app.store import events as event_store
from app.store import executions as store
from app.store import requests
from app.store import workflows as workflow_store
from app.store.tracking import StartRequest
from app.tables import EventType, ExecutionStatus
from app.temporal import WORKFLOW_ID_PREFIX
from resolvers.context import Context, parse_id
from resolvers.outcome import Outcome


@dataclass(frozen=True)
class NewExecution:
    """An execution to be: what it is started from and with."""

    workflow: WorkflowRecord
    input: Any
    labels: Mapping[str, str]
    start_delay: int | None = None
    rerun_of: UUID | None = None


async def start_execution(
    context: Context,
    *,
    workflow_id: str,
    input: Any,
    labels: Sequence[Label] | None,
    start_delay: int | None,
    idempotency_key: str | None,
) -> Outcome:
    """Start a workflow. The execution stays PENDING, and is started later, while Temporal is away.

    Raises NotFound, Forbidden, InvalidInput or IdempotencyConflict, each before anything is written.
    """
    context.caller.require(WRITE_EXECUTIONS)
    inputs.check(
        inputs.json("/input", input),
        inputs.labels("/labels", labels),
        inputs.start_delay("/startDelay", start_delay),
        inputs.name("/idempotencyKey", idempotency_key),
    )
    async with context.db.read(Plans.FOR_ALL) as connection:
        workflow, schema = await workflow_store.get_with_schema(
            connection, context.caller, parse_id("workflow", workflow_id)
        )
    new = NewExecution(workflow, input, dict(labels or ()), start_delay)
    await _check(context, new, schema, "/workflowId")
    return await _place(context, new, idempotency_key, _asked(new))


async def rerun_execution(
    context: Context, *, id: str, given: Mapping[str, Any], idempotency_key: str | None
) -> Outcome:
    """Start an execution's workflow anew, with its labels, and its input unless another is `given`.

    Raises as a start does.
    """
    context.caller.require(WRITE_EXECUTIONS)
    inputs.check(inputs.json("/input", given.get("input")), inputs.name("/idempotencyKey", idempotency_key))
    async with context.db.read(Plans.FOR_ALL) as connection:
        original = await store.get(connection, context.caller, parse_id("execution", id), payloads=True)
        workflow, schema = await workflow_store.get_with_schema(
            connection, context.caller, original.workflow_id
        )
    earlier_input = value(original.payloads and original.payloads.input)
    new = NewExecution(workflow, given.get("input", earlier_input), original.labels, rerun_of=original.id)
    await _check(context, new, schema, "/id")
    return await _place(context, new, idempotency_key, {"rerun_of": str(original.id), **given})


async def _check(context: Context, new: NewExecution, schema: Any, path: str) -> None:
    """Raise InvalidInput unless its workflow, which is given at `path`, may be started with that input."""
    if new.workflow.archived_at is not None:
        of = "of an" if new.rerun_of else "an"
        raise InvalidInput([Issue(path, f"is {of} archived workflow, which cannot be started")])
    issues = await context.services.judge.input_issues("/input", schema, new.input)
    inputs.check(iter(issues))


def _asked(new: NewExecution) -> dict[str, Any]:
    """What a start asks for; what it leaves out is left out, so that keys of older versions still count."""
    asked: dict[str, Any] = {"workflow_id": str(new.workflow.id), "input": new.input}
    if new.labels:
        asked["labels"] = new.labels
    if new.start_delay is not None:
        asked["start_delay"] = new.start_delay
    return asked


async def _place(
    context: Context, new: NewExecution, idempotency_key: str | None, asked: Mapping[str, Any]
) -> Outcome:
    """Insert the execution, then start it; one that the key has started before is found again."""
    if idempotency_key is None:
        async with context.db.write_once() as tx:
            created = await _create(tx, context, new, uuid4())
    else:
        request = requests.Request(new.workflow.owner_id, idempotency_key, asked)
        async with context.db.write() as tx:
            created = await _create_or_find(tx, context, new, request)
    return created if created.replayed else await _start(context, created, new)


async def _start(context: Context, created: Outcome, new: NewExecution) -> Outcome:
    request = StartRequest(
        execution=created.execution,
        workflow_type=new.workflow.workflow_type,
        task_queue=new.workflow.task_queue,
        input=new.input,
        execution_timeout_seconds=new.workflow.execution_timeout,
        start_delay_seconds=new.start_delay,
    )
    try:
        started = await starter.start(context.db, context.services.temporal, request)
    except Unavailable:
        return created
    doorbells.tell_new_run(context.services.bus)
    return replace(created, execution=started)


async def _create_or_find(
    tx: Transaction, context: Context, new: NewExecution, request: requests.Request
) -> Outcome:
    id = uuid4()
    earlier = await requests.claim(tx, context.caller, request, id)
    if earlier is None:
        return await _create(tx, context, new, id)
    first = await event_store.first_position(tx.connection, earlier.id)
    return Outcome(earlier, first, replayed=True)


async def _create(tx: Transaction, context: Context, new: NewExecution, id: UUID) -> Outcome:
    now = datetime.now(UTC)
    values = {
        "id": id,
        "owner_id": new.workflow.owner_id,
        "workflow_id": new.workflow.id,
        "status": ExecutionStatus.PENDING,
        "input": new.input,
        "labels": dict(new.labels),
        "start_delay": new.start_delay,
        "rerun_of": new.rerun_of,
        "started_by": context.caller.subject,
        "temporal_workflow_id": f"{WORKFLOW_ID_PREFIX}{id}",
        "created_at": now,
        "updated_at": now,
    }
    draft = Draft(EventType.EXECUTION_CREATED, "Created", now, actor=context.caller.subject)
    delivery = await event_store.create(tx, values, draft)
    return Outcome(delivery.execution, delivery.event.position)
