"""Events: history, feeds and what is watched live."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from app.auth import READ_EXECUTIONS
from app.errors import NotFound
from app.filters import EVERY_EVENT, ExecutionEventFilter, ExecutionFilter
from app.paging import Page, Paging, feed_position, window
from app.records import Delivery, EventRecord, ExecutionRecord
from app.store import events as store
from app.tables import EventType
from resolvers import filters
from resolvers.context import Context
from resolvers.executions import execution

# What an integer column holds for sure.
VERSION_DIGITS = 9
# How many events one page of a feed is looked for in: a filter may choose none of them.
SEARCHED_EVENTS = 5_000

LAST = frozenset({EventType.EXECUTION_COMPLETED, EventType.EXECUTION_FAILED, EventType.EXECUTION_CANCELLED})


@dataclass(frozen=True)
class FeedPage:
    """A page of a feed, and the position up to which the feed was read for it."""

    page: Page[Delivery]
    position: int


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
    context: Context, execution: ExecutionRecord, asked: Paging, types: frozenset[EventType] | None
) -> Page[EventRecord]:
    """A page of an execution's events of some types, oldest first; raises InvalidInput."""
    return await context.loaders.history(window(asked, feed_position), types).load(execution.id)


async def event_count(
    context: Context, execution: ExecutionRecord, types: frozenset[EventType] | None
) -> int:
    """How many events of some types are kept of an execution."""
    return await context.loaders.event_count(types).load(execution.id)


async def feed_count(context: Context, chosen: ExecutionEventFilter) -> int:
    """How many events of a filter the caller's feed holds."""
    async with context.db.read() as connection:
        if chosen != EVERY_EVENT:
            return await store.count_in_feed(connection, context.caller.owner, chosen)
        kept = await store.bounds(connection, context.caller.owner)
    return kept.head - kept.pruned_through


async def feed_head(context: Context) -> int:
    """The last position of the caller's feed."""
    return await context.loaders.feed_head.load(context.caller.owner) or 0


async def execution_feed(context: Context, asked: Paging, chosen: ExecutionEventFilter) -> FeedPage:
    """A page of the caller's events, oldest first (without a cursor from the oldest kept).

    Raises Forbidden, InvalidInput and CursorExpired.
    """
    context.caller.require(READ_EXECUTIONS)
    filters.check_events(chosen)
    wanted, owner = window(asked, feed_position), context.caller.owner
    async with context.db.read() as connection:
        # Read before the events: the page may end here without one.
        kept = await store.bounds(connection, owner)
        start = kept.pruned_through if wanted.after is None else wanted.after
        through = min(start + SEARCHED_EVENTS, max(kept.head, start))
        found = await store.after(connection, owner, start, wanted.size + 1, through=through, chosen=chosen)
    page = wanted.cut(found)
    if page.has_next:
        return FeedPage(page, page.items[-1].event.position)
    return FeedPage(replace(page, has_next=through < kept.head), through)


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


async def watch_execution_feed(
    context: Context, after: str | None, chosen: ExecutionEventFilter
) -> AsyncGenerator[Delivery, None]:
    """All of the caller's events of a filter after a cursor (none: from now on), without end.

    Raises Forbidden, InvalidInput and CursorExpired.
    """
    context.caller.require(READ_EXECUTIONS)
    filters.check_events(chosen)
    position = feed_position(after) if after else None
    async with aclosing(context.services.hub.follow(context.caller.owner, position)) as batches:
        async for delivery in _one_by_one(context, batches, chosen):
            yield delivery


async def watch_execution_updated(
    context: Context, chosen: ExecutionFilter
) -> AsyncGenerator[ExecutionRecord, None]:
    """The newest state of each of the caller's executions that changes, without end.

    A slow reader is not given the states between; the last one that it is given is the newest.
    Raises Forbidden and InvalidInput.
    """
    context.caller.require(READ_EXECUTIONS)
    filters.check_executions(context.caller, chosen)
    async with aclosing(context.services.hub.follow(context.caller.owner)) as batches:
        async for batch in batches:
            newest = {delivery.execution.id: delivery.execution for delivery in batch}
            names = await _workflow_names(context, newest.values()) if chosen.search else {}
            for changed in newest.values():
                if chosen.matches(changed, names.get(changed.workflow_id, "")):
                    yield changed


async def _workflow_names(context: Context, changed: Iterable[ExecutionRecord]) -> dict[UUID, str]:
    ids = {execution.workflow_id for execution in changed}
    found = await context.loaders.workflow.load_many(list(ids))
    return {workflow.id: workflow.name for workflow in found if workflow is not None}


async def _one_by_one(
    context: Context,
    batches: AsyncGenerator[list[Delivery], None],
    chosen: ExecutionEventFilter = EVERY_EVENT,
) -> AsyncGenerator[Delivery, None]:
    """The deliveries of the batches; those that happened since are observed once they were handed over."""
    began = datetime.now(UTC)
    async for batch in batches:
        for delivery in batch:
            if not chosen.matches(delivery.event, delivery.execution):
                continue
            yield delivery
            if delivery.event.recorded_at > began:
                context.services.hub.observe(delivery)
