"""Counts of executions: read from tallies, however many executions there are."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from functools import partial

from app import stats
from app.auth import READ_EXECUTIONS
from app.db import outlasting
from app.filters import Period, StatsFilter
from app.records import WorkflowRecord
from app.stats import Span, Stats, TimeBucket
from app.store import tallies
from app.tables import ExecutionStatus
from resolvers import filters
from resolvers.context import Context

# Not more often than a person looks.
PAUSE_SECONDS = 1.0
# An admin counts everybody's executions, and is woken by the events of none but themselves.
ADMIN_PAUSE_SECONDS = 5.0
NOTHING = Stats(dict.fromkeys(ExecutionStatus, 0), {})


async def execution_stats(context: Context, chosen: StatsFilter, *, durations: bool = True) -> Stats:
    """How many of the caller's executions have each status, and their durations if asked.

    Raises Forbidden or InvalidInput.
    """
    context.caller.require(READ_EXECUTIONS)
    filters.check_stats(chosen)
    async with context.db.read() as connection:
        return await tallies.stats(connection, context.caller, chosen, durations=durations)


async def workflow_stats(context: Context, workflow: WorkflowRecord, created: Period) -> Stats:
    """How many of a workflow's executions have each status; raises Forbidden."""
    context.caller.require(READ_EXECUTIONS)
    found = await context.loaders.stats(created).load(workflow.id)
    return found or NOTHING


async def timeline(
    context: Context, workflow: WorkflowRecord | None, chosen: StatsFilter, bucket: TimeBucket
) -> Sequence[Span]:
    """The chosen executions by the time of their creation; raises InvalidInput where that is too long."""
    # What is too long whatever is found is not looked for.
    stats.timeline(chosen.created, bucket, {})
    if workflow is not None:
        found = await context.loaders.timeline(chosen.created, bucket).load(workflow.id) or {}
    else:
        async with context.db.read() as connection:
            found = await tallies.timeline(connection, context.caller, chosen, bucket)
    return stats.timeline(chosen.created, bucket, found)


async def watch_execution_stats(context: Context, chosen: StatsFilter) -> AsyncGenerator[Stats, None]:
    """How many of the caller's executions have each status: now, and whenever that has changed.

    Raises Forbidden or InvalidInput. A slow reader is not given the counts between; the last are the newest.
    """
    context.caller.require(READ_EXECUTIONS)
    patience = ADMIN_PAUSE_SECONDS if context.caller.is_admin else None
    count = partial(execution_stats, context, chosen)
    # Watched before the first count, and skipped before each: what changes from then on is seen.
    cursor = await context.services.hub.open(context.caller.owner)
    try:
        newest: Stats | None = None
        while True:
            cursor.skip()
            newer = await outlasting(count)
            if newer != newest:
                newest = newer
                yield newer
            await asyncio.sleep(PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await cursor.more()
    finally:
        cursor.close()
