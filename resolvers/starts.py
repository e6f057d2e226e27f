"""Executions started: new ones, and those of old ones anew."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from app import doorbells, inputs, starter
from app.auth import WRITE_EXECUTIONS
from app.db import Connection, Plans, Transaction
from app.errors import InvalidInput, Issue, Unavailable
from app.inputs import Label
from app.records import Draft, ExecutionRecord, Startable, WorkflowRecord, value
from app.store import events as event_store
from app.store import executions as store
from app.store import requests
from app.store import workflows as workflow_store
from app.store.events import WorkflowChanged
from app.store.tracking import StartRequest
from app.tables import EventType, ExecutionStatus
from app.temporal import WORKFLOW_ID_PREFIX
from resolvers.context import Context, parse_id
from resolvers.outcome import Outcome


@dataclass(frozen=True)
class NewExecution:
    """An execution to be: what it is started with.

    `path` is where the caller has given its workflow, and `asked` what a repeated key must ask for again.
    """

    path: str
    asked: Mapping[str, Any]
    input: Any
    labels: Mapping[str, str]
    start_delay: int | None = None
    rerun_of: UUID | None = None
    idempotency_key: str | None = None


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
    id, pairs = parse_id("workflow", workflow_id), dict(labels or ())
    asked = {"workflow_id": str(id), "input": input}
    # What is left out is left out here too, so that keys of older versions still count.
    if pairs:
        asked["labels"] = pairs
    if start_delay is not None:
        asked["start_delay"] = start_delay
    new = NewExecution(
        "/workflowId", asked, input, pairs, start_delay=start_delay, idempotency_key=idempotency_key
    )
    return await _begin(context, id, new)


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
    earlier_input = value(original.payloads and original.payloads.input)
    new = NewExecution(
        "/id",
        {"rerun_of": str(original.id), **given},
        given.get("input", earlier_input),
        original.labels,
        rerun_of=original.id,
        idempotency_key=idempotency_key,
    )
    return await _begin(context, original.workflow_id, new)


async def _begin(context: Context, workflow_id: UUID, new: NewExecution) -> Outcome:
    """Insert the execution, by what was known of its workflow before or else by what is now, and start it."""
    startables, refusal = context.services.startables, None
    known = startables.get(workflow_id)
    if known is not None and context.caller.may_see(known.workflow.owner_id):
        try:
            return await _place(context, known, new)
        except WorkflowChanged:
            pass
        except InvalidInput as error:
            # It may be fine by now.
            refusal = error
    while True:
        async with context.db.read(Plans.FOR_ALL) as connection:
            present = await workflow_store.get_startable(connection, context.caller, workflow_id)
        if refusal is not None and known == present:
            raise refusal
        startables[workflow_id] = present
        # It may change between the two.
        with suppress(WorkflowChanged):
            return await _place(context, present, new)


async def _place(context: Context, known: Startable, new: NewExecution) -> Outcome:
    """Insert the execution, and start it unless its key has started it before.

    Raises InvalidInput, IdempotencyConflict or WorkflowChanged, each before anything is written.
    """
    try:
        await _check(context, known, new)
    except InvalidInput:
        # What was started is started, whatever its workflow has become.
        if (earlier := await _repeated(context, known, new)) is None:
            raise
        return earlier
    created = await _inserted(context, known, new)
    return created if created.replayed else await _start(context, created, known.workflow, new)


async def _check(context: Context, known: Startable, new: NewExecution) -> None:
    """Raise InvalidInput unless the workflow may be started with that input."""
    if known.workflow.archived_at is not None:
        of = "of an" if new.rerun_of else "an"
        raise InvalidInput([Issue(new.path, f"is {of} archived workflow, which cannot be started")])
    issues = await context.services.judge.input_issues("/input", known.input_schema, new.input)
    inputs.check(iter(issues))


async def _inserted(context: Context, known: Startable, new: NewExecution) -> Outcome:
    """The execution as inserted, or as found where its key has been used before."""
    id, request = uuid4(), _request(known, new)
    if request is None:
        async with context.db.write_once() as tx:
            return await _create(tx, context, known, new, id)
    async with context.db.write() as tx:
        earlier = await requests.claim(tx, context.caller, request, id)
        if earlier is None:
            return await _create(tx, context, known, new, id)
        return await _replayed(tx.connection, earlier)


async def _repeated(context: Context, known: Startable, new: NewExecution) -> Outcome | None:
    """What its key has started before, if it has one, and that has; raises IdempotencyConflict."""
    if (request := _request(known, new)) is None:
        return None
    async with context.db.read() as connection:
        earlier = await requests.earlier(connection, context.caller, request)
        return None if earlier is None else await _replayed(connection, earlier)


async def _replayed(connection: Connection, execution: ExecutionRecord) -> Outcome:
    first = await event_store.first_position(connection, execution.id)
    return Outcome(execution, first, replayed=True)


def _request(known: Startable, new: NewExecution) -> requests.Request | None:
    key = new.idempotency_key
    return None if key is None else requests.Request(known.workflow.owner_id, key, new.asked)


async def _start(context: Context, created: Outcome, workflow: WorkflowRecord, new: NewExecution) -> Outcome:
    request = StartRequest(
        execution=created.execution,
        workflow_type=workflow.workflow_type,
        task_queue=workflow.task_queue,
        input=new.input,
        execution_timeout_seconds=workflow.execution_timeout,
        start_delay_seconds=new.start_delay,
    )
    try:
        started = await starter.start(context.db, context.services.temporal, request)
    except Unavailable:
        return created
    doorbells.tell_new_run(context.services.bus)
    return replace(created, execution=started)


async def _create(
    tx: Transaction, context: Context, known: Startable, new: NewExecution, id: UUID
) -> Outcome:
    now = datetime.now(UTC)
    values = {
        "id": id,
        "owner_id": known.workflow.owner_id,
        "workflow_id": known.workflow.id,
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
    delivery = await event_store.create(tx, values, draft, known=known)
    return Outcome(delivery.execution, delivery.position)
