"""Live delivery: per watched owner one ring of recent events; a subscription is a cursor that pulls."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from app import doorbells
from app.bus import Bus, Gap
from app.db import Database
from app.errors import CursorExpired, InvalidInput, Issue, Unavailable
from app.metrics import Metrics
from app.records import Delivery, decode
from app.store import events

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
DOORBELL_GRACE_SECONDS = 0.25


class Feed:
    """The recent events of one watched owner; `head` is the last position known."""

    def __init__(self, owner: str, ring_events: int) -> None:
        self.owner = owner
        self.head = 0
        self.watchers = 0
        self.opened = asyncio.Event()
        self.changed = asyncio.Event()
        self.ring: deque[Delivery] = deque(maxlen=ring_events)

    def append(self, deliveries: Sequence[Delivery]) -> None:
        """Take those events that follow the head and wake whoever waits."""
        before = self.head
        for delivery in deliveries:
            if delivery.event.position == self.head + 1:
                self.ring.append(delivery)
                self.head += 1
        if self.head > before:
            self._wake()

    def restart(self, head: int) -> None:
        """Go on from a head that is too far ahead for the ring."""
        self.ring.clear()
        self.head = head
        self._wake()

    def since(self, position: int, limit: int) -> list[Delivery] | None:
        """The first events behind a position; None where the ring no longer has them all."""
        missing = self.head - position
        if missing > len(self.ring):
            return None
        return [self.ring[-place] for place in range(missing, max(missing - limit, 0), -1)]

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


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
        self._page_events = page_events
        self._backstop_seconds = backstop_seconds
        self._feeds: dict[str, Feed] = {}
        self._listeners: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        self._backstop_task = asyncio.create_task(self._backstop(), name="hub: backstop")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [self._backstop_task, *self._listeners.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def watched_owners(self) -> Sequence[str]:
        """The owners whose feeds are watched now."""
        return list(self._feeds)

    async def follow(
        self, owner: str, after: int | None = None, execution_id: UUID | None = None
    ) -> AsyncGenerator[list[Delivery], None]:
        """An owner's events behind a position (None: from now on), in order and without end, in batches.

        Only those of one execution where it is given. A slow reader costs no memory here: what the ring
        has lost is read from Postgres in pages. Raises InvalidInput for a position that the feed has not
        reached, and CursorExpired for one whose events are pruned.
        """
        async with self._watch(owner) as feed:
            position = feed.head if after is None else after
            await self._reach(feed, position)
            while True:
                changed, head = feed.changed, feed.head
                batch = feed.since(position, self._page_events)
                if batch is None:
                    batch = await self._read_when_possible(owner, position, execution_id)
                    # A full page ends at its last event; any other has reached the head at least.
                    full = len(batch) == self._page_events
                    position = batch[-1].event.position if full else max(head, position)
                if chosen := _of(batch, execution_id):
                    yield chosen
                position = max(position, batch[-1].event.position if batch else 0)
                if position >= feed.head:
                    await changed.wait()

    def observe(self, delivery: Delivery) -> None:
        """Note that an event was handed to a subscriber's socket."""
        lag = datetime.now(UTC) - delivery.event.recorded_at
        self._metrics.delivery_lag_seconds.observe(lag.total_seconds())

    @asynccontextmanager
    async def _watch(self, owner: str) -> AsyncIterator[Feed]:
        feed = self._feeds.get(owner)
        if feed is None:
            feed = self._feeds[owner] = Feed(owner, self._ring_events)
            # It outlives the request that is the first to watch, and must not go on under its name.
            self._listeners[owner] = asyncio.create_task(
                self._listen(feed), name="hub: listen", context=Context()
            )
            doorbells.tell_watched(self._bus, [owner])
        feed.watchers += 1
        self._metrics.watched_owners.set(len(self._feeds))
        try:
            await feed.opened.wait()
            with self._metrics.subscriptions.track_inprogress():
                yield feed
        finally:
            feed.watchers -= 1
            if feed.watchers == 0:
                del self._feeds[owner]
                self._listeners.pop(owner).cancel()
            self._metrics.watched_owners.set(len(self._feeds))

    async def _listen(self, feed: Feed) -> None:
        async with self._bus.subscribe(doorbells.feed(feed.owner)) as subscription:
            await self._open(feed)
            while True:
                await self._take(feed, await subscription.get())

    async def _open(self, feed: Feed) -> None:
        """Find the head, after subscribing: what is committed from then on rings."""
        while True:
            try:
                async with self._db.read() as connection:
                    feed.restart((await events.bounds(connection, feed.owner)).head)
                return feed.opened.set()
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("A feed cannot be watched yet")
                await asyncio.sleep(RETRY_SECONDS)

    async def _take(self, feed: Feed, message: str | Gap) -> None:
        if self._is_behind(feed, message):
            await self._fill(feed)

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
        return delivery.event.position > feed.head

    async def _fill(self, feed: Feed) -> bool:
        """Read what the feed is behind by, once for all its subscribers; the backstop repeats what fails."""
        try:
            async with self._db.read() as connection:
                kept = await events.bounds(connection, feed.owner)
            if feed.head < kept.head:
                self._metrics.gaps_filled.inc()
            if feed.head < max(kept.head - self._ring_events, kept.pruned_through):
                feed.restart(kept.head)
            while feed.head < kept.head:
                feed.append(await self._read(feed.owner, feed.head))
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
            return await events.after(connection, owner, position, self._page_events, execution_id)

    async def _read_when_possible(
        self, owner: str, position: int, execution_id: UUID | None
    ) -> list[Delivery]:
        """Whoever reads the past outlives an outage of Postgres, like those who read the ring."""
        while True:
            try:
                return await self._read(owner, position, execution_id)
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)

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


def _of(batch: list[Delivery], execution_id: UUID | None) -> list[Delivery]:
    if execution_id is None:
        return batch
    return [delivery for delivery in batch if delivery.event.execution_id == execution_id]
