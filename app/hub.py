"""Live delivery: per watched owner one ring of recent events; a subscription is a cursor that pulls."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from typing import Self
from uuid import UUID

from app import doorbells
from app.bus import Bus, Gap
from app.db import RETRY_SECONDS, Database, outlasting
from app.deliveries import Delivery, decode
from app.errors import CursorExpired, InvalidInput, Issue, Unavailable
from app.metrics import Metrics
from app.store import events

log = logging.getLogger(__name__)

DOORBELL_GRACE_SECONDS = 0.25
OPENED_AT_ONCE = 500
OPENED = asyncio.Event()
OPENED.set()


class Feed:
    """The recent events of one watched owner; `head` is the last position known."""

    __slots__ = ("behind", "filling", "head", "listeners", "opened", "owner", "ring", "watchers")

    def __init__(self, owner: str, ring_events: int) -> None:
        self.owner = owner
        self.head = 0
        self.watchers = 0
        self.opened = asyncio.Event()
        self.listeners: set[Callable[[], None]] = set()
        self.behind = False
        self.filling: asyncio.Task[None] | None = None
        self.ring: deque[Delivery] = deque(maxlen=ring_events)

    def open(self, head: int) -> None:
        """Begin at a head, and let those go on who waited for it."""
        self.head = head
        self.opened.set()
        # One of these for each of thousands of feeds would be most of their memory.
        self.opened = OPENED

    def append(self, deliveries: Sequence[Delivery]) -> None:
        """Take those events that follow the head."""
        for delivery in deliveries:
            if delivery.position == self.head + 1:
                self.ring.append(delivery)
                self.head += 1

    def restart(self, head: int) -> None:
        """Go on from a head that is too far ahead for the ring."""
        self.ring.clear()
        self.head = head

    def since(self, position: int, limit: int) -> list[Delivery] | None:
        """The first events behind a position; None where the ring no longer has them all."""
        missing = self.head - position
        if missing > len(self.ring):
            return None
        return [self.ring[-place] for place in range(missing, max(missing - limit, 0), -1)]

    def tell(self) -> None:
        """Tell the listeners that there is more."""
        for listener in tuple(self.listeners):
            try:
                listener()
            except Exception:
                log.exception("A listener of a feed failed")

    async def more(self) -> None:
        """Return when there is more."""
        told = asyncio.get_running_loop().create_future()

        def settle() -> None:
            if not told.done():
                told.set_result(None)

        self.listeners.add(settle)
        try:
            await told
        finally:
            self.listeners.discard(settle)


class Cursor:
    """A place in a feed, from which events are taken in order; `position` is that of the last one taken.

    Only those of one execution where that is given. A slow reader costs no memory here: what the ring has
    lost is read from Postgres in pages.
    """

    __slots__ = ("_closed", "_hub", "execution_id", "feed", "position")

    def __init__(self, hub: "Hub", feed: Feed, position: int, execution_id: UUID | None) -> None:
        self.feed = feed
        self.position = position
        self.execution_id = execution_id
        self._hub = hub
        self._closed = False

    def copy(self) -> "Cursor":
        """Another one at the same place, to be used while this one is open."""
        return Cursor(self._hub, self.feed, self.position, self.execution_id)

    def ready(self) -> bool:
        """Whether there is more."""
        return self.position < self.feed.head

    def take(self) -> list[Delivery] | None:
        """What is next; None where the ring no longer has it, and it is to be read."""
        batch = self.feed.since(self.position, self._hub.page_events)
        if batch:
            self.position = batch[-1].position
        return batch if batch is None else self._chosen(batch)

    async def read(self) -> list[Delivery]:
        """What is next, out of Postgres; raises CursorExpired."""
        head = self.feed.head
        batch = await self._hub.read(self.feed.owner, self.position, self.execution_id)
        last = batch[-1].position if batch else self.position
        # A full page ends at its last event; any other has reached the head at least.
        self.position = last if len(batch) == self._hub.page_events else max(head, last)
        return batch

    async def batch(self) -> list[Delivery]:
        """What is next, waited for; raises CursorExpired."""
        while True:
            batch = self.take()
            if batch is None:
                batch = await self.read()
            if batch:
                return batch
            await self.more()

    async def more(self) -> None:
        """Return when there is more."""
        if not self.ready():
            await self.feed.more()

    def skip(self) -> None:
        """Leave out all that is known by now."""
        self.position = max(self.position, self.feed.head)

    def observe(self, delivery: Delivery) -> None:
        """Note that an event was handed to the sockets of subscribers."""
        self._hub.observe(delivery)

    def close(self) -> None:
        """Watch no longer."""
        if not self._closed:
            self._closed = True
            self._hub.leave(self.feed)

    def _chosen(self, batch: list[Delivery]) -> list[Delivery]:
        if self.execution_id is None:
            return batch
        return [delivery for delivery in batch if delivery.event.execution_id == self.execution_id]


class Hub:
    """All that one process watches. Use it as an async context manager, inside the bus's."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        metrics: Metrics,
        *,
        ring_events: int,
        page_events: int,
        backstop_seconds: float,
    ) -> None:
        self._db = db
        self._bus = bus
        self._metrics = metrics
        self._ring_events = ring_events
        self.page_events = page_events
        self._backstop_seconds = backstop_seconds
        self._feeds: dict[str, Feed] = {}
        self._unopened: dict[str, Feed] = {}
        self._changed: dict[Feed, None] = {}
        self._opening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._bus.when_heard(self._tell_all)
        self._backstop_task = asyncio.create_task(self._backstop(), name="hub: backstop")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [self._backstop_task, self._opening, *(feed.filling for feed in self._feeds.values())]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    @property
    def watched_owners(self) -> Sequence[str]:
        """The owners whose feeds are watched now."""
        return list(self._feeds)

    async def open(self, owner: str, after: int | None = None, execution_id: UUID | None = None) -> Cursor:
        """A cursor behind a position of an owner's feed (None: at its head), to be closed by whom it is for.

        Raises InvalidInput for a position that the feed has not reached.
        """
        feed = self._enter(owner)
        try:
            await feed.opened.wait()
            position = feed.head if after is None else after
            await self._reach(feed, position)
        except BaseException:
            self._leave(feed)
            raise
        self._metrics.subscriptions.inc()
        return Cursor(self, feed, position, execution_id)

    def observe(self, delivery: Delivery) -> None:
        """Note that an event was handed to the sockets of subscribers."""
        self._metrics.delivery_lag_seconds.note(time.time() - delivery.recorded_at.timestamp())

    def leave(self, feed: Feed) -> None:
        """Count one subscription less; the last one's feed is watched no longer."""
        self._metrics.subscriptions.dec()
        self._leave(feed)

    def _enter(self, owner: str) -> Feed:
        feed = self._feeds.get(owner)
        if feed is None:
            feed = Feed(owner, self._ring_events)
            self._bus.listen(doorbells.feed(owner), partial(self._hear, feed))
            self._feeds[owner] = self._unopened[owner] = feed
            if self._opening is None:
                # It must not go on under the name of the request that is the first to watch.
                self._opening = asyncio.create_task(self._open_all(), name="hub: open", context=Context())
        feed.watchers += 1
        self._metrics.watched_owners.set(len(self._feeds))
        return feed

    def _leave(self, feed: Feed) -> None:
        feed.watchers -= 1
        if feed.watchers == 0:
            del self._feeds[feed.owner]
            self._unopened.pop(feed.owner, None)
            self._bus.ignore(doorbells.feed(feed.owner))
            if feed.filling is not None:
                feed.filling.cancel()
        self._metrics.watched_owners.set(len(self._feeds))

    async def _open_all(self) -> None:
        """Open the feeds of those who come, many at a time."""
        try:
            while self._unopened:
                feeds = list(self._unopened.values())[:OPENED_AT_ONCE]
                for feed in feeds:
                    del self._unopened[feed.owner]
                doorbells.tell_watched(self._bus, [feed.owner for feed in feeds])
                await self._open(feeds)
        finally:
            self._opening = None

    async def _open(self, feeds: Sequence[Feed]) -> None:
        """Find the heads, after subscribing: what is committed from then on rings."""
        await self._bus.settled([doorbells.feed(feed.owner) for feed in feeds])
        while True:
            try:
                async with self._db.read() as connection:
                    heads = await events.heads(connection, [feed.owner for feed in feeds])
                break
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("Feeds cannot be watched yet")
                await asyncio.sleep(RETRY_SECONDS)
        for feed in feeds:
            feed.open(heads.get(feed.owner, 0))
            if feed.behind:
                self._fill_soon(feed)

    def _hear(self, feed: Feed, message: str | Gap) -> None:
        if not feed.opened.is_set():
            # It may be committed, and ring, while the head is being read.
            feed.behind = True
            return
        head = feed.head
        if self._is_behind(feed, message):
            self._fill_soon(feed)
        if feed.head > head:
            self._changed[feed] = None

    def _tell_all(self) -> None:
        """Tell of all that came at once in one go."""
        changed, self._changed = self._changed, {}
        for feed in changed:
            feed.tell()

    def _is_behind(self, feed: Feed, message: str | Gap) -> bool:
        """Whether something is missing still, after taking from the message what there is in it."""
        if isinstance(message, Gap):
            return True
        try:
            if message.isdigit():
                return int(message) > feed.head
            delivery = decode(message)
        except (ValueError, TypeError, KeyError):
            # Not of this version of the program: Postgres knows what it was about.
            return True
        feed.append([delivery])
        return delivery.position > feed.head

    def _fill_soon(self, feed: Feed) -> None:
        feed.behind = True
        if feed.filling is None:
            feed.filling = asyncio.create_task(self._fill_up(feed), name="hub: fill", context=Context())

    async def _fill_up(self, feed: Feed) -> None:
        try:
            while feed.behind:
                feed.behind = False
                await self._fill(feed)
        finally:
            feed.filling = None

    async def _fill(self, feed: Feed) -> bool:
        """Read what the feed is behind by, once for all its subscribers; the backstop repeats what fails."""
        try:
            async with self._db.read() as connection:
                kept = await events.bounds(connection, feed.owner)
            if feed.head < kept.head:
                self._metrics.gaps_filled.inc()
            if feed.head < max(kept.head - self._ring_events, kept.pruned_through):
                feed.restart(kept.head)
                feed.tell()
            while feed.head < kept.head:
                feed.append(await self._read(feed.owner, feed.head))
                feed.tell()
        except (Unavailable, CursorExpired) as error:
            log.warning("Live delivery waits: %s", error.message)
            return False
        except Exception:
            log.exception("Live delivery failed; the backstop repeats it")
            return False
        return True

    async def _reach(self, feed: Feed, position: int) -> None:
        """Make sure of a position ahead of the head: its doorbell may be on the way."""
        while position > feed.head:
            if await self._fill(feed):
                break
            await asyncio.sleep(RETRY_SECONDS)
        if position > feed.head:
            raise InvalidInput([Issue("/after", "is ahead of the feed: it is not a cursor of yours")])

    async def _read(self, owner: str, position: int, execution_id: UUID | None = None) -> list[Delivery]:
        async with self._db.read() as connection:
            return await events.after(connection, owner, position, self.page_events, execution_id)

    async def read(self, owner: str, position: int, execution_id: UUID | None) -> list[Delivery]:
        """A page of an owner's events behind a position, in spite of outages; raises CursorExpired."""
        return await outlasting(partial(self._read, owner, position, execution_id))

    async def _backstop(self) -> None:
        while True:
            await asyncio.sleep(self._backstop_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - jitter # nosec B311
            try:
                doorbells.tell_watched(self._bus, self.watched_owners)
                await self._catch_up()
            except Unavailable as error:
                log.warning("The backstop waits: %s", error.message)
            except Exception:
                log.exception("The backstop failed; it goes on")

    async def _catch_up(self) -> None:
        """Compare all heads with Postgres in one query: whatever lags now was lost on the way."""
        if not self._feeds:
            return
        async with self._db.read() as connection:
            heads = await events.heads(connection, list(self._feeds))
        await asyncio.sleep(DOORBELL_GRACE_SECONDS)
        for owner, head in heads.items():
            feed = self._feeds.get(owner)
            if feed is not None and feed.opened.is_set() and feed.head < head:
                self._metrics.backstop_deliveries.inc(head - feed.head)
                await self._fill(feed)
