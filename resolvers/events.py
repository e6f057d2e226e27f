"""Events: history, feeds and what is watched live."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.auth import READ_EXECUTIONS
from app.errors import NotFound
from app.paging import Page, feed_position, page_size
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


async def event_count(context: Context, execution: ExecutionRecord) -> int:
    """How many events the execution has: its version counts them."""
    return execution.version


async def feed_head(context: Context) -> int:
    """The last position of the caller's feed."""
    async with context.db.read() as connection:
        return await store.head(connection, context.caller.owner)


async def event_execution(context: Context, event: EventRecord) -> ExecutionRecord:
    """The event's execution as it is now."""
    found = await context.loaders.execution.load(event.execution_id)
    if found is None:
        raise NotFound("execution", event.execution_id)
    return found


async def execution_events(
    context: Context, execution_id: str, after: str | None
) -> AsyncGenerator[Delivery, None]:
    """One execution's events: past ones after a cursor, then live, to its last; raises like `execution`."""
    watched = await execution(context, execution_id)
    position = feed_position(after) if after else 0
    if await _has_ended_by(context, watched, position):
        return
    async with aclosing(context.services.hub.follow(watched.owner_id, position, watched.id)) as deliveries:
        async for delivery in deliveries:
            yield delivery
            if delivery.event.type in LAST:
                return


async def execution_feed(context: Context, after: str | None) -> AsyncGenerator[Delivery, None]:
    """All of the caller's events after a cursor (none: from now on), without end; raises Forbidden."""
    context.caller.require(READ_EXECUTIONS)
    position = feed_position(after) if after else None
    async with aclosing(context.services.hub.follow(context.caller.owner, position)) as deliveries:
        async for delivery in deliveries:
            yield delivery


async def _has_ended_by(context: Context, execution: ExecutionRecord, position: int) -> bool:
    """Whether the execution's last event is not behind the position."""
    if execution.completed_at is None:
        return False
    async with context.db.read() as connection:
        return await store.last_position(connection, execution.id) <= position
