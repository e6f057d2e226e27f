"""Events: history, feeds and what is watched live."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

from app.auth import READ_EXECUTIONS
from app.errors import NotFound
from app.filters import ExecutionFilter
from app.paging import Page, cut, feed_position, page_size
from app.records import Delivery, EventRecord, ExecutionRecord
from app.store import events as store
from app.tables import EventType
from resolvers.context import Context
from resolvers.executions import execution

# What an integer column holds for sure.
VERSION_DIGITS = 9

LAST = frozenset({EventType.EXECUTION_COMPLETED, EventType.EXECUTION_FAILED, EventType.EXECUTION_CANCELLED})


async def event(context: Context, id: str) -> EventRecord:
    """The event with that id, `<execution id>:<version>`; raises NotFound or Forbidden."""
    context.caller.require(READ_EXECUTIONS)
    execution_id, _, version = id.partition(":")
    if not (version.isascii() and version.isdigit() and len(version) <= VERSION_DIGITS):
        raise NotFound("event", id)
    changed = await execution(context, execution_id)
    async with context.db.read() as connection:
        found = await store.get(connection, changed, int(version))
    if found is None:
        raise NotFound("event", id)
    return found


async def history(
    context: Context, execution: ExecutionRecord, first: int | None, after: str | None
) -> Page[EventRecord]:
    """A page of an execution's events, oldest first; raises InvalidInput."""
    size, position = page_size(first), feed_position(after) if after else 0
    async with context.db.read() as connection:
        return await store.history(connection, execution, size, position)


async def event_count(context: Context, execution: ExecutionRecord | None) -> int:
    """How many events are kept: of an execution, or for None of the caller's feed."""
    async with context.db.read() as connection:
        if execution is not None:
            return await store.count(connection, execution)
        kept = await store.bounds(connection, context.caller.owner)
    return kept.head - kept.pruned_through


async def feed_head(context: Context) -> int:
    """The last position of the caller's feed."""
    async with context.db.read() as connection:
        return (await store.bounds(connection, context.caller.owner)).head


async def execution_feed(context: Context, first: int | None, after: str | None) -> Page[Delivery]:
    """A page of the caller's events, oldest first (without a cursor from the oldest kept).

    Raises Forbidden, InvalidInput and CursorExpired.
    """
    context.caller.require(READ_EXECUTIONS)
    size, owner = page_size(first), context.caller.owner
    async with context.db.read() as connection:
        start = feed_position(after) if after else (await store.bounds(connection, owner)).pruned_through
        found = await store.after(connection, owner, start, size + 1)
    return cut(found, size, has_previous=after is not None)


async def event_execution(context: Context, event: EventRecord) -> ExecutionRecord:
    """The event's execution as it is now."""
    found = await context.loaders.execution.load(event.execution_id)
    if found is None:
        raise NotFound("execution", event.execution_id)
    return found


async def watch_execution_events(
    context: Context, execution_id: str, after: str | None
) -> AsyncGenerator[Delivery, None]:
    """One execution's events: past ones after a cursor, then live, to its last; raises like `execution`."""
    watched = await execution(context, execution_id)
    async with context.db.read() as connection:
        kept = await store.bounds(connection, watched.owner_id)
        last = await store.last_position(connection, watched.id)
    position = feed_position(after) if after else kept.pruned_through
    if watched.completed_at is not None and last <= position <= kept.head:
        return
    hub = context.services.hub
    async with aclosing(hub.follow(watched.owner_id, position, watched.id)) as batches:
        async for delivery in _one_by_one(context, batches):
            yield delivery
            if delivery.event.type in LAST:
                return


async def watch_execution_feed(context: Context, after: str | None) -> AsyncGenerator[Delivery, None]:
    """All of the caller's events after a cursor (none: from now on), without end; raises Forbidden."""
    context.caller.require(READ_EXECUTIONS)
    position = feed_position(after) if after else None
    async with aclosing(context.services.hub.follow(context.caller.owner, position)) as batches:
        async for delivery in _one_by_one(context, batches):
            yield delivery


async def watch_execution_updated(
    context: Context, chosen: ExecutionFilter
) -> AsyncGenerator[ExecutionRecord, None]:
    """The newest state of each of the caller's executions that changes, without end; raises Forbidden.

    A slow reader is not given the states between; the last one that it is given is the newest.
    """
    context.caller.require(READ_EXECUTIONS)
    async with aclosing(context.services.hub.follow(context.caller.owner)) as batches:
        async for batch in batches:
            newest = {delivery.execution.id: delivery.execution for delivery in batch}
            for changed in newest.values():
                if chosen.matches(changed):
                    yield changed


async def _one_by_one(
    context: Context, batches: AsyncGenerator[list[Delivery], None]
) -> AsyncGenerator[Delivery, None]:
    """The deliveries of the batches; those that happened since are observed once they were handed over."""
    began = datetime.now(UTC)
    async for batch in batches:
        for delivery in batch:
            yield delivery
            if delivery.event.recorded_at > began:
                context.services.hub.observe(delivery)
