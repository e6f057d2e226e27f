"""What Temporal and the workers are asked about an execution, as it is this moment."""

from collections.abc import Sequence
from typing import Any

from app import inputs
from app.auth import READ_EXECUTIONS
from app.errors import InvalidInput, Issue, NotSupported, Unavailable
from app.records import ExecutionRecord, PendingActivityRecord
from app.store import executions as store
from app.tables import ExecutionStatus
from app.temporal import PAUSED, NoNamespace, NotRunning, Refused, TooLarge
from app.transitions import TERMINAL
from resolvers.context import Context, parse_id


async def query_execution(context: Context, *, id: str, query: str, arguments: Sequence[Any] | None) -> Any:
    """What the workflow's code answers to a Temporal Query; one that has ended answers while a worker runs.

    Raises NotFound, Forbidden, InvalidInput where the workflow has no such query or its handler fails,
    NotSupported, and Unavailable.
    """
    context.caller.require(READ_EXECUTIONS)
    given = list(arguments or [])
    inputs.check(inputs.name("/query", query), inputs.json("/arguments", given))
    async with context.db.read() as connection:
        found = await store.get(connection, context.caller, parse_id("execution", id))
    _check_answerable(found)
    try:
        return await context.services.temporal.query(found.temporal_workflow_id, query, given)
    except TooLarge as error:
        raise InvalidInput([Issue("/arguments", str(error))]) from error
    except Refused as error:
        reason = inputs.storable(str(error), inputs.MAX_REASON_CHARACTERS)
        raise InvalidInput([Issue("/query", f"is not answered by the workflow: {reason}")]) from error
    except NoNamespace as error:
        raise Unavailable(str(error)) from error
    except NotRunning as error:
        raise NotSupported("Temporal no longer has this execution: nobody can be asked.") from error


def _check_answerable(found: ExecutionRecord) -> None:
    if found.status is ExecutionStatus.PAUSED:
        raise NotSupported(PAUSED)
    if found.temporal_run_id is None:
        if found.status in TERMINAL:
            raise NotSupported("This execution has ended without ever running: nobody can be asked.")
        raise Unavailable("This execution has not been started on Temporal yet: it cannot answer.", 1)


async def pending_activities(context: Context, execution: ExecutionRecord) -> list[PendingActivityRecord]:
    """The activities that are scheduled, at work or waiting for their next attempt; raises Unavailable."""
    if execution.status in TERMINAL or execution.temporal_run_id is None:
        return []
    try:
        return await context.services.temporal.pending_activities(execution.temporal_workflow_id)
    except NotRunning:
        return []
