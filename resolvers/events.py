"""Events: history, feeds and what is watched live."""

from collections.abc import AsyncGenerator, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import UUID

from app.auth import READ_EXECUTIONS
from app.deliveries import Delivery
from app.errors import NotFound
from app.filters import EVERY_EVENT, ExecutionEventFilter, ExecutionFilter
from app.hub import Cursor
from app.paging import Page, Paging, feed_position, window
from app.records import EventRecord, ExecutionRecord
from app.rendering import Fieldset, Rendered
from app.store import events as store
from app.tables import EventType
from resolvers import filters
from resolvers.context import Context
from resolvers.executions import execution

# What an integer column holds for sure.
VERSION_DIGITS = 9
# How many events one page of a feed is looked for in: a filter may choose none of them.
SEARCHED_EVENTS = 5_000

NAMELESS: Mapping[UUID, str] = MappingProxyType({})
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


async def histories(
    context: Context,
    executions: Sequence[ExecutionRecord],
    asked: Paging,
    types: frozenset[EventType] | None,
    fieldset: Fieldset | None,
) -> Sequence[Page[EventRecord | Rendered]]:
    """The same page of the events of each of several executions, or of what is selected of them.

    In the executions' order; raises InvalidInput.
    """
    ids, wanted = [each.id for each in executions], window(asked, feed_position)
    found: Mapping[UUID, Page[EventRecord | Rendered]]
    async with context.db.read() as connection:
        if fieldset is not None:
            found = await store.render_histories(
                connection, context.caller, ids, wanted, types, fieldset=fieldset
            )
        else:
            found = await store.histories(connection, context.caller, ids, wanted, types)
    return [found[id] for id in ids]


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
        return FeedPage(page, page.items[-1].position)
    return FeedPage(replace(page, has_next=through < kept.head), through)


async def event_execution(context: Context, event: EventRecord) -> ExecutionRecord:
    """The event's execution as it is now."""
    found = await context.loaders.execution.load(event.execution_id)
    if found is None:
        raise NotFound("execution", event.execution_id)
    return found


@dataclass(frozen=True)
class Watch:
    """What is watched of an owner's feed: what follows a position (None: its head) and a filter chooses.

    Of events each is told, in order, to the last one of an execution where it is one execution's. With an
    `ExecutionFilter` it is the newest states of executions: a slow reader is not given those between, and
    the last one that it is given is the newest.
    """

    context: Context
    owner: str
    after: int | None
    execution_id: UUID | None = None
    chosen: ExecutionEventFilter | ExecutionFilter = EVERY_EVENT
    is_over: bool = False

    @property
    def identity(self) -> Hashable:
        """What tells it from those that choose other events."""
        return self.owner, self.execution_id, self.chosen

    @property
    def chooses_at_once(self) -> bool:
        """Whether nothing must be read to choose."""
        return isinstance(self.chosen, ExecutionEventFilter) or self.chosen.search is None

    async def open(self) -> Cursor:
        """The cursor to begin at, to be closed; raises InvalidInput where the feed has not come so far.

        What is read for its events is read through outages from now on: none of them is told without it.
        """
        self.context.loaders.patient = True
        return await self.context.services.hub.open(self.owner, self.after, self.execution_id)

    def choose(self, batch: list[Delivery], names: Mapping[UUID, str] = NAMELESS) -> list[Delivery]:
        """Those of a batch that are chosen; `names` are those of the workflows, where they are searched."""
        if self.chosen is EVERY_EVENT:
            return batch
        match self.chosen:
            case ExecutionEventFilter() as events:
                return [each for each in batch if events.matches(each.event, each.execution)]
            case ExecutionFilter() as executions:
                return [
                    each
                    for each in _newest(batch)
                    if executions.matches(each.execution, names.get(each.execution.workflow_id, ""))
                ]

    def ends_with(self, delivery: Delivery) -> bool:
        """Whether nothing follows an event."""
        return self.execution_id is not None and delivery.event.type in LAST

    async def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """What is chosen; raises InvalidInput and CursorExpired."""
        if self.is_over:
            return
        cursor = await self.open()
        began = datetime.now(UTC)
        try:
            while True:
                for delivery in await self._chosen(await cursor.batch()):
                    yield delivery
                    # Handed over: those that happened since it is watched.
                    if delivery.recorded_at > began:
                        cursor.observe(delivery)
                    if self.ends_with(delivery):
                        return
        finally:
            cursor.close()

    async def _chosen(self, batch: list[Delivery]) -> list[Delivery]:
        if self.chooses_at_once:
            return self.choose(batch)
        ids = {each.execution.workflow_id for each in batch}
        found = await self.context.loaders.workflow.load_many(list(ids))
        return self.choose(batch, {each.id: each.name for each in found if each is not None})


async def watch_execution_events(context: Context, execution_id: str, after: str | None) -> Watch:
    """One execution's events: past ones after a cursor, then live, to its last; raises like `execution`."""
    watched = await execution(context, execution_id)
    async with context.db.read() as connection:
        kept = await store.bounds(connection, watched.owner_id)
        last = await store.last_position(connection, watched.id)
    position = feed_position(after) if after else kept.pruned_through
    is_over = watched.completed_at is not None and last <= position <= kept.head
    return Watch(context, watched.owner_id, position, watched.id, is_over=is_over)


async def watch_execution_feed(context: Context, after: str | None, chosen: ExecutionEventFilter) -> Watch:
    """All of the caller's events of a filter after a cursor (none: from now on), without end.

    Raises Forbidden and InvalidInput.
    """
    context.caller.require(READ_EXECUTIONS)
    filters.check_events(chosen)
    return Watch(context, context.caller.owner, feed_position(after) if after else None, chosen=chosen)


async def watch_execution_updated(context: Context, chosen: ExecutionFilter) -> Watch:
    """The newest state of each of the caller's executions that changes, without end.

    Raises Forbidden and InvalidInput.
    """
    context.caller.require(READ_EXECUTIONS)
    filters.check_executions(context.caller, chosen)
    return Watch(context, context.caller.owner, None, chosen=chosen)


def _newest(batch: list[Delivery]) -> Collection[Delivery]:
    """The last one of each execution, in the order of the feed."""
    newest: dict[UUID, Delivery] = {}
    for delivery in batch:
        newest.pop(delivery.execution.id, None)
        newest[delivery.execution.id] = delivery
    return newest.values()
