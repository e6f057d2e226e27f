"""What is asked of an execution while it runs: cancelled, terminated, signalled, paused, ended by hand.

Temporal is asked, and what its history then tells is recorded: the status changes when Temporal says so.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from app import inputs, recorder, transitions
from app.auth import WRITE_EXECUTIONS
from app.db import Plans
from app.errors import InvalidInput, Issue, Unavailable, VersionConflict
from app.inputs import MAX_REASON_CHARACTERS, Label
from app.records import Draft, ExecutionRecord
from app.store import executions as store
from app.store import tracking
from app.store.tracking import Run
from app.tables import EventType, ExecutionAction, ExecutionStatus
from app.temporal import NoNamespace, NotRunning, Refused, TooLarge
from resolvers.context import Context, parse_id
from resolvers.outcome import Outcome, append, present

# How long a mutation waits for the history to show what Temporal has accepted.
CATCH_UP_SECONDS = 5.0
CHANGED = "Temporal does not take this now: the execution has just changed, which is being recorded."

_ACTIONS = {
    ExecutionStatus.PAUSED: ExecutionAction.PAUSE,
    ExecutionStatus.RUNNING: ExecutionAction.RESUME,
    ExecutionStatus.COMPLETED: ExecutionAction.COMPLETE,
    ExecutionStatus.FAILED: ExecutionAction.FAIL,
}


def allowed_actions(context: Context, execution: ExecutionRecord) -> tuple[ExecutionAction, ...]:
    """What the caller may ask of the execution in the status that it has."""
    return transitions.allowed_actions(execution.status) if context.caller.may(WRITE_EXECUTIONS) else ()


async def cancel_execution(
    context: Context, *, id: str, reason: str | None, expected_version: int | None
) -> Outcome:
    """Ask the workflow to cancel itself; an execution that has not been started is cancelled at once.

    Asking again while it winds up changes nothing. Raises NotFound, Forbidden, InvalidTransition,
    VersionConflict, and Unavailable where Temporal did not take the request.
    """
    context.caller.require(WRITE_EXECUTIONS)
    reason = inputs.storable(reason, MAX_REASON_CHARACTERS)
    async with context.db.write(Plans.FOR_ALL) as tx:
        found = await store.lock(tx, context.caller, parse_id("execution", id))
        _check(found, ExecutionAction.CANCEL, expected_version)
        if found.status is ExecutionStatus.PENDING:
            return await append(tx, found, _cancelled(context, reason))
    call = context.services.temporal.cancel(found.temporal_workflow_id, context.caller.subject, reason)
    await _tell(context, found, ExecutionAction.CANCEL, call)
    return await _record_cancel_request(context, found, reason)


async def terminate_execution(
    context: Context, *, id: str, reason: str | None, expected_version: int | None
) -> Outcome:
    """End the workflow at once, without a chance to clean up: the execution has then failed.

    Raises NotFound, Forbidden, InvalidTransition, VersionConflict, and Unavailable.
    """
    reason = inputs.storable(reason, MAX_REASON_CHARACTERS) or ""
    found = await _asked(context, id, ExecutionAction.TERMINATE, expected_version)
    call = context.services.temporal.terminate(found.temporal_workflow_id, context.caller.subject, reason)
    return await _done(context, found, ExecutionAction.TERMINATE, call)


async def signal_execution(
    context: Context, *, id: str, signal: str, arguments: Sequence[Any] | None
) -> Outcome:
    """Send the workflow a signal.

    Raises NotFound, Forbidden, InvalidInput, InvalidTransition, and Unavailable.
    """
    context.caller.require(WRITE_EXECUTIONS)
    given = list(arguments or [])
    inputs.check(inputs.name("/signal", signal), inputs.json("/arguments", given))
    found = await _asked(context, id, ExecutionAction.SIGNAL)
    call = context.services.temporal.signal(found.temporal_workflow_id, context.caller.subject, signal, given)
    return await _done(context, found, ExecutionAction.SIGNAL, call, bulky="/arguments")


async def update_execution(
    context: Context,
    *,
    id: str,
    status: ExecutionStatus | None,
    output: Any,
    message: str | None,
    labels: Sequence[Label] | None,
    expected_version: int | None,
) -> Outcome:
    """Pause, resume or cancel an execution, end it by hand, or change its labels.

    Raises NotFound, Forbidden, InvalidInput, InvalidTransition, VersionConflict, NotSupported, Unavailable.
    """
    context.caller.require(WRITE_EXECUTIONS)
    _check_update(status, output, message, labels)
    if status is None:
        return await _annotate(context, id, message, labels, expected_version)
    if status is ExecutionStatus.CANCELLED:
        return await cancel_execution(context, id=id, reason=message, expected_version=expected_version)
    action = _ACTIONS[status]
    found = await _asked(context, id, action, expected_version)
    call = _change(context, found, status, message, output)
    return await _done(context, found, action, call, bulky="/output")


def _check_update(
    status: ExecutionStatus | None, output: Any, message: str | None, labels: Sequence[Label] | None
) -> None:
    issues = []
    if status is None and message is None and labels is None:
        issues.append(Issue("", "must have a status, labels or a message: else there is nothing to update"))
    if status is ExecutionStatus.PENDING:
        issues.append(Issue("/status", "must not be PENDING: no execution goes back to where it began"))
    if status is not None and labels is not None:
        issues.append(Issue("/labels", "must be changed in an update of their own, without a status"))
    if output is not None and status is not ExecutionStatus.COMPLETED:
        issues.append(Issue("/output", "is only for the status COMPLETED"))
    inputs.check(
        iter(issues),
        inputs.json("/output", output),
        inputs.remark("/message", message),
        inputs.labels("/labels", labels),
    )


def _change(
    context: Context, found: ExecutionRecord, status: ExecutionStatus, message: str | None, output: Any
) -> Awaitable[None]:
    temporal, actor = context.services.temporal, context.caller.subject
    workflow_id = found.temporal_workflow_id
    match status:
        case ExecutionStatus.PAUSED:
            return temporal.pause(workflow_id, actor, message or "")
        case ExecutionStatus.RUNNING:
            return temporal.unpause(workflow_id, actor, message or "")
        case _:
            return temporal.finish(workflow_id, actor, status, message, output)


async def _annotate(
    context: Context,
    id: str,
    message: str | None,
    labels: Sequence[Label] | None,
    expected_version: int | None,
) -> Outcome:
    """Put labels or a remark on an execution, which Temporal need not know."""
    changes = {} if labels is None else {"labels": dict(labels)}
    draft = Draft(
        EventType.EXECUTION_UPDATED,
        message or "Labels changed",
        datetime.now(UTC),
        actor=context.caller.subject,
        details=changes or None,
        changes=changes,
    )
    async with context.db.write(Plans.FOR_ALL) as tx:
        found = await store.lock(tx, context.caller, parse_id("execution", id))
        _check_version(found, expected_version)
        transitions.check_open(found.status)
        return await append(tx, found, draft)


async def _asked(
    context: Context, id: str, action: ExecutionAction, expected_version: int | None = None
) -> ExecutionRecord:
    """The execution of which the action may be asked."""
    context.caller.require(WRITE_EXECUTIONS)
    async with context.db.read() as connection:
        found = await store.get(connection, context.caller, parse_id("execution", id))
    _check(found, action, expected_version)
    return found


def _check(found: ExecutionRecord, action: ExecutionAction, expected_version: int | None) -> None:
    _check_version(found, expected_version)
    transitions.check(found.status, action)


def _check_version(found: ExecutionRecord, expected_version: int | None) -> None:
    if expected_version not in (None, found.version):
        raise VersionConflict(found, expected_version)


async def _done(
    context: Context,
    found: ExecutionRecord,
    action: ExecutionAction,
    call: Awaitable[None],
    *,
    bulky: str = "",
) -> Outcome:
    """Make a call to Temporal and record what follows; `bulky` is what in the input may be too large."""
    try:
        await _tell(context, found, action, call)
    except TooLarge as error:
        raise InvalidInput([Issue(bulky, str(error))]) from error
    await _catch_up(context, found)
    return await present(context, found)


async def _tell(
    context: Context, found: ExecutionRecord, action: ExecutionAction, call: Awaitable[None]
) -> None:
    """Make a call to Temporal; one that comes too late raises InvalidTransition from the status of now."""
    try:
        await call
    except TooLarge:
        raise
    except NoNamespace as error:
        raise Unavailable(str(error)) from error
    except (NotRunning, Refused) as error:
        await _catch_up(context, found)
        now = await present(context, found)
        transitions.check(now.execution.status, action)
        raise Unavailable(CHANGED, 1) from error


async def _catch_up(context: Context, found: ExecutionRecord) -> None:
    """Record what Temporal tells of the execution by now. What does not come in time, a tracker records."""
    assert found.temporal_run_id is not None
    run = Run(found.id, found.owner_id, found.temporal_workflow_id, found.temporal_run_id)
    with suppress(Unavailable, NotRunning, Refused, TimeoutError):
        async with asyncio.timeout(CATCH_UP_SECONDS):
            await recorder.catch_up(context.db, context.services.temporal, run)


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
    async with context.db.write(Plans.FOR_ALL) as tx:
        tracked = await tracking.lock(tx, found.id)
        drafts = [] if tracked.cancel_requested_at else [draft]
        return await append(tx, tracked.execution, *drafts)
