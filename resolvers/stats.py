"""Counts of executions: read from tallies, however many executions there are."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from app import stats
from app.auth import READ_EXECUTIONS
from app.errors import Unavailable
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
    async with aclosing(context.services.hub.follow(context.caller.owner)) as batches:
        # The feed is watched before the first count: what changes after it is seen.
        changed = asyncio.ensure_future(anext(batches))
        newest: Stats | None = None
        try:
            while True:
                newer = await _count_when_possible(context, chosen)
                if newer != newest:
                    newest = newer
                    yield newer
                await asyncio.sleep(PAUSE_SECONDS)
                await asyncio.wait([changed], timeout=patience)
                if changed.done():
                    changed.result()
                    changed = asyncio.ensure_future(anext(batches))
        finally:
            changed.cancel()
            await asyncio.gather(changed, return_exceptions=True)


async def _count_when_possible(context: Context, chosen: StatsFilter) -> Stats:
    """Whoever watches outlives an outage of Postgres."""
    while True:
        try:
            return await execution_stats(context, chosen)
        except Unavailable:
            await asyncio.sleep(PAUSE_SECONDS)
