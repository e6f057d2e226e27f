"""Keeps the event log level with Temporal. Its cost grows with what changes and who watches.

Follow: long polls for a bounded number of executions. Sweep: what closed or was paused, by visibility.
Reconcile: whatever was not confirmed for long, one by one. Start: what was left unsettled.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import orjson

from app import doorbells, recorder, starter
from app.bus import Bus, Gap
from app.db import Database
from app.doorbells import Ring
from app.errors import Unavailable
from app.store import events, tracking
from app.store.tracking import Run, Stale
from app.temporal import WORKFLOW_ID_PREFIX, NotRunning, Refused, Temporal

T = TypeVar("T")

log = logging.getLogger(__name__)

SWEEP = "closed"
RETRY_SECONDS = 1.0
BATCH = 100
PRUNE_SECONDS = 60.0
PRUNED_AT_ONCE = 5_000
AT_ONCE = 20
WATCHED_FOR_SECONDS = 15.0


@dataclass(frozen=True)
class Options:
    """How much a tracker does, and how often."""

    follow_limit: int
    poll_seconds: float
    start_grace_seconds: float
    sweep_overlap_seconds: float
    reconcile_after_seconds: float
    lost_after_seconds: float
    alive_seconds: float
    event_retention: timedelta | None


class Tracker:
    """One tracker among any number: they share the work by leases, and correctness depends on none."""

    def __init__(self, db: Database, bus: Bus, temporal: Temporal, options: Options) -> None:
        self._id = uuid.uuid4()
        self._db = db
        self._bus = bus
        self._temporal = temporal
        self._options = options
        self._followers: dict[Run, asyncio.Task[None]] = {}
        self._new_runs = 0
        self._rung = asyncio.Event()
        self._sweeping = False
        self._watched: dict[str, float] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._waiting: set[str] = set()

    async def run(self) -> None:
        """Track until cancelled."""
        poll = self._options.poll_seconds
        try:
            await self._attempt(self._live)
            async with asyncio.TaskGroup() as tasks:
                for step in (self._live, self._settle, self._sweep, self._compare_paused, self._reconcile):
                    tasks.create_task(self._repeat(step, poll), name=f"tracker: {step.__name__}")
                tasks.create_task(self._discover_all(), name="tracker: discover")
                tasks.create_task(self._repeat(self._prune, PRUNE_SECONDS), name="tracker: prune")
                tasks.create_task(self._listen(), name="tracker: listen")
        finally:
            await self._stop()

    async def _repeat(self, step: Callable[[], Awaitable[None]], pause_seconds: float) -> None:
        while True:
            await self._attempt(step)
            await asyncio.sleep(pause_seconds)

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run a step of a loop that must go on whatever happens to it; an outage is logged once."""
        try:
            await step()
        except (Unavailable, NotRunning, Refused) as error:
            if step.__name__ not in self._waiting:
                log.warning("The tracker cannot %s: %s", step.__name__.strip("_"), error)
            self._waiting.add(step.__name__)
        except Exception:
            log.exception("The tracker failed to %s", step.__name__.strip("_"))
        else:
            self._waiting.discard(step.__name__)

    async def _listen(self) -> None:
        async with self._bus.subscribe(doorbells.TRACKERS) as subscription:
            while True:
                self._hear(await subscription.get())

    def _hear(self, message: str | Gap) -> None:
        if message == Ring.NEW_RUN:
            self._new_runs += 1
            self._rung.set()
        elif not isinstance(message, Gap):
            until = asyncio.get_running_loop().time() + WATCHED_FOR_SECONDS
            with suppress(ValueError, TypeError):
                self._watched.update(dict.fromkeys(orjson.loads(message), until))

    async def _live(self) -> None:
        """Renew this tracker's hold on what it follows."""
        until = datetime.now(UTC) + timedelta(seconds=self._options.alive_seconds)
        async with self._db.write() as tx:
            await tracking.stay_alive(tx, self._id, until)

    async def _discover_all(self) -> None:
        """Discover at intervals, and at once when somebody rings."""
        while True:
            await self._attempt(self._discover)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), self._options.poll_seconds)
            self._rung.clear()

    async def _discover(self) -> None:
        """Take over open executions that no living tracker follows: watched ones first, then the newest."""
        now = asyncio.get_running_loop().time()
        self._watched = {owner: until for owner, until in self._watched.items() if until > now}
        self._make_room()
        room = self._options.follow_limit - len(self._followers)
        if room <= 0:
            return
        async with self._db.write() as tx:
            followed = [run.execution_id for run in self._followers]
            runs = await tracking.claim(tx, self._id, list(self._watched), followed, room)
        for run in runs:
            self._followers[run] = asyncio.create_task(self._follow(run), name="tracker: follow")

    def _make_room(self) -> None:
        """Let go what nobody watches, longest followed first, for runs that rang: the sweep goes on."""
        excess = len(self._followers) + self._new_runs - self._options.follow_limit
        self._new_runs = 0
        unwatched = [run for run in self._followers if run.owner_id not in self._watched]
        for run in unwatched[: max(excess, 0)]:
            self._followers.pop(run).cancel()

    async def _follow(self, run: Run) -> None:
        """Record an execution's runs to the last; after a failure it is discovered again."""
        next_run: Run | None = run
        try:
            while next_run is not None:
                next_run = await self._follow_run(next_run)
        except (Unavailable, NotRunning, Refused) as error:
            log.debug("Execution %s waits: %s", run.execution_id, error)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            log.exception("Execution %s cannot be recorded", run.execution_id)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            # Let go and taken over again, the run may have another follower by now.
            if self._followers.get(run) is asyncio.current_task():
                del self._followers[run]

    async def _follow_run(self, run: Run) -> Run | None:
        """Record one run to its end; the run to follow next, which is the same after a pause."""
        next_run = await recorder.follow(self._db, self._temporal, run, wait=True)
        if next_run is not None:
            return next_run
        # While a run is paused Temporal answers long polls at once: it must be asked at intervals.
        before = await self._temporal.describe(run.temporal_workflow_id, run.run_id)
        now = before
        while now.paused and now == before:
            await asyncio.sleep(self._options.poll_seconds)
            now = await self._temporal.describe(run.temporal_workflow_id, run.run_id)
        return run if before.paused else None

    async def _settle(self) -> None:
        """Finish the starts that their API processes left."""
        before = datetime.now(UTC) - timedelta(seconds=self._options.start_grace_seconds)
        async with self._db.read() as connection:
            unsettled = await tracking.unsettled_starts(connection, before, BATCH)
        await self._each(partial(starter.settle, self._db, self._temporal), unsettled)

    async def _sweep(self) -> None:
        """Record what closed since the last sweep, of those not followed."""
        until = datetime.now(UTC) + timedelta(seconds=self._options.alive_seconds)
        async with self._db.write() as tx:
            watermark = await tracking.hold_sweep(tx, SWEEP, self._id, until)
        self._sweeping = watermark is not None
        if watermark is None:
            return
        reached = watermark
        since = watermark - timedelta(seconds=self._options.sweep_overlap_seconds)
        async for closed in self._temporal.closed_since(WORKFLOW_ID_PREFIX, since):
            await self._catch_up([each.workflow_id for each in closed])
            reached = max(reached, *(each.closed_at for each in closed))
        async with self._db.write() as tx:
            await tracking.move_watermark(tx, SWEEP, self._id, reached)

    async def _compare_paused(self) -> None:
        """Read the executions that only one, Temporal or the log, takes for paused."""
        if not self._sweeping:
            return
        there = await self._temporal.paused(WORKFLOW_ID_PREFIX)
        async with self._db.read() as connection:
            here = await tracking.paused(connection)
        await self._catch_up(list(there ^ here))

    async def _catch_up(self, workflow_ids: list[str]) -> None:
        async with self._db.read() as connection:
            runs = await tracking.open_runs_of(connection, workflow_ids)
        await self._each(self._read, [run for run in runs if run not in self._followers])

    async def _reconcile(self) -> None:
        """Ask Temporal about the executions that nobody has asked about for long."""
        before = datetime.now(UTC) - timedelta(seconds=self._options.reconcile_after_seconds)
        async with self._db.write() as tx:
            stale = await tracking.claim_unconfirmed(tx, before, BATCH)
        await self._each(self._confirm, stale)

    async def _prune(self) -> None:
        """Delete events past their retention, some of some owners at a time."""
        if self._options.event_retention is None:
            return
        before = datetime.now(UTC) - self._options.event_retention
        async with self._db.read() as connection:
            owners = await events.owners_with_events_before(connection, before, BATCH)
        for owner in owners:
            async with self._db.write() as tx:
                await events.prune(tx, owner, before, PRUNED_AT_ONCE)

    async def _confirm(self, stale: Stale) -> None:
        run = stale.run
        try:
            description = await self._temporal.describe(run.temporal_workflow_id, run.run_id)
        except NotRunning:
            if datetime.now(UTC) - stale.created_at > timedelta(seconds=self._options.lost_after_seconds):
                await recorder.lose(self._db, run)
            return
        if description.history_length >= stale.next_history_event:
            await self._read(run)

    async def _read(self, run: Run) -> None:
        """Record what there is of an execution now, run after run."""
        next_run: Run | None = run
        with suppress(NotRunning):
            while next_run is not None:
                next_run = await recorder.follow(self._db, self._temporal, next_run, wait=False)

    async def _each(self, step: Callable[[T], Awaitable[None]], items: Sequence[T]) -> None:
        """Take the step for every item, some at once; one that fails stops no other. Raises Unavailable."""

        async def bounded(item: T) -> None:
            async with self._at_once:
                await step(item)

        results = await asyncio.gather(*map(bounded, items), return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        for failure in failures:
            if not isinstance(failure, Unavailable):
                log.error("An execution cannot be recorded", exc_info=failure)
        for failure in failures:
            if isinstance(failure, Unavailable):
                raise failure

    async def _stop(self) -> None:
        followers = list(self._followers.values())
        for task in followers:
            task.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        with suppress(Unavailable):
            async with self._db.write() as tx:
                await tracking.leave(tx, self._id)
