"""Counts of executions."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from app.auth import READ_EXECUTIONS
from app.filters import ExecutionFilter
from app.store import executions as store
from app.tables import ExecutionStatus
from resolvers.context import Context

# Counting goes over all of an owner's executions: not more often than a person looks.
PAUSE_SECONDS = 1.0

Counts = Mapping[ExecutionStatus, int]


async def watch_execution_stats(context: Context, chosen: ExecutionFilter) -> AsyncGenerator[Counts, None]:
    """How many of the caller's executions have each status: now, and whenever that has changed.

    Raises Forbidden. A slow reader is not given the counts between; the last ones are the newest.
    """
    context.caller.require(READ_EXECUTIONS)
    async with aclosing(context.services.hub.follow(context.caller.owner)) as batches:
        # The feed is watched before the first count: what changes after it is seen.
        changed = asyncio.ensure_future(anext(batches))
        counts: Counts | None = None
        try:
            while True:
                newer = await _counts(context, chosen)
                if newer != counts:
                    counts = newer
                    yield counts
                await changed
                await asyncio.sleep(PAUSE_SECONDS)
                changed = asyncio.ensure_future(anext(batches))
        finally:
            changed.cancel()
            await asyncio.gather(changed, return_exceptions=True)


async def _counts(context: Context, chosen: ExecutionFilter) -> Counts:
    async with context.db.read() as connection:
        return await store.counts(connection, context.caller, chosen)
