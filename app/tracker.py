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
from uuid import UUID

import orjson

from app import doorbells, recorder, starter
from app.bus import Bus, Gap
from app.db import Database
from app.doorbells import Ring
from app.errors import Unavailable
from app.store import events, tracking
from app.store.tracking import Claim, Run, Stale
from app.temporal import WORKFLOW_ID_PREFIX, NotRunning, Refused, Temporal

T = TypeVar("T")

log = logging.getLogger(__name__)

SWEEP = "closed"
# So often within a hold it is renewed: one renewal that comes late loses nothing.
HEARTBEATS = 4
RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 60.0
FOLLOW_QUIET_SECONDS = 3.0
BATCH = 100
PRUNE_SECONDS = 60.0
PRUNED_AT_ONCE = 5_000
AT_ONCE = 20
WATCHED_FOR_SECONDS = 15.0
EXPECTED = (Unavailable, NotRunning, Refused)


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


@dataclass(frozen=True)
class Follower:
    """An execution that is followed, and the task that does it."""

    claim: Claim
    task: asyncio.Task[None]


class Tracker:
    """One tracker among any number: they share the work by leases, and correctness depends on none."""

    def __init__(self, db: Database, bus: Bus, temporal: Temporal, options: Options) -> None:
        self._id = uuid.uuid4()
        self._db = db
        self._bus = bus
        self._temporal = temporal
        self._options = options
        self._followers: dict[UUID, Follower] = {}
        self._rung = asyncio.Event()
        self._alive_until = 0.0
        self._follow_failed = 0.0
        self._sweeping = False
        self._watched: dict[str, float] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._failing: dict[str, str] = {}

    async def run(self) -> None:
        """Track until cancelled."""
        poll = self._options.poll_seconds
        try:
            await self._attempt(self._live)
            async with asyncio.TaskGroup() as tasks:
                for step in (self._settle, self._sweep, self._compare_paused, self._reconcile):
                    tasks.create_task(self._repeat(step, poll), name=f"tracker: {step.__name__}")
                heartbeat = self._options.alive_seconds / HEARTBEATS
                tasks.create_task(self._repeat(self._live, heartbeat), name="tracker: live")
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
        """Run a step of a loop that must go on whatever happens to it."""
        name = step.__name__.strip("_").replace("_", " ")
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - the edge of the process
            self._complain(name, f"The tracker cannot {name}", error)
        else:
            self._recover(name)

    def _recover(self, name: str) -> None:
        if self._failing.pop(name, None):
            log.info("The tracker can %s again", name)

    def _complain(self, what: str, message: str, error: BaseException) -> None:
        """Log a failure once, not each time that it is met again; one that nobody expects with its trace."""
        kind = type(error).__name__
        if self._failing.get(what) != kind:
            trace = None if isinstance(error, EXPECTED) else error
            log.log(logging.ERROR if trace else logging.WARNING, "%s: %s", message, error, exc_info=trace)
        self._failing[what] = kind

    async def _listen(self) -> None:
        async with self._bus.subscribe(doorbells.TRACKERS) as subscription:
            while True:
                self._hear(await subscription.get())

    def _hear(self, message: str | Gap) -> None:
        if isinstance(message, str) and message != Ring.NEW_RUN:
            # Another version's message says nothing to us.
            with suppress(ValueError, TypeError):
                self._watch(orjson.loads(message))
        else:
            self._rung.set()

    def _watch(self, owners: Sequence[object]) -> None:
        until = asyncio.get_running_loop().time() + WATCHED_FOR_SECONDS
        names = {owner for owner in owners if isinstance(owner, str) and "\x00" not in owner}
        if names - self._watched.keys():
            self._rung.set()
        self._watched.update(dict.fromkeys(names, until))

    async def _live(self) -> None:
        """Renew this tracker's hold on what it follows."""
        now = asyncio.get_running_loop().time()
        async with self._db.write() as tx:
            await tracking.stay_alive(tx, self._id, timedelta(seconds=self._options.alive_seconds))
        if now > self._alive_until:
            await self._give_up_what_was_taken_over()
        self._alive_until = now + self._options.alive_seconds
        # A follower that waits for news again does not say so: its silence does.
        if "follow" in self._failing and now > self._follow_failed + FOLLOW_QUIET_SECONDS:
            self._recover("follow")

    async def _give_up_what_was_taken_over(self) -> None:
        """After a hold that has lapsed: others took this tracker for dead."""
        followed = set(self._followers)
        async with self._db.read() as connection:
            held = await tracking.held(connection, self._id)
        for execution_id in followed - held:
            self._let_go(execution_id)

    async def _discover_all(self) -> None:
        """Discover at intervals, and at once when somebody rings."""
        while True:
            self._rung.clear()
            await self._attempt(self._discover)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.poll_seconds):
                    await self._rung.wait()

    async def _discover(self) -> None:
        """Follow what no living tracker follows: watched owners' executions first, then the newest.

        With all places taken, those of the lowest rank give way: the sweep carries them on.
        """
        now = asyncio.get_running_loop().time()
        self._watched = {owner: until for owner, until in self._watched.items() if until > now}
        limit, followed = self._options.follow_limit, [each.claim for each in self._followers.values()]
        room = limit - len(followed)
        lowest = None if room > 0 else min(map(self._rank, followed))
        wanted = room if room > 0 else limit
        async with self._db.write() as tx:
            found = await tracking.claim(
                tx, self._id, list(self._watched), list(self._followers), wanted, above=lowest
            )
            chosen = sorted(followed + found, key=self._rank, reverse=True)
            excess = [each.run.execution_id for each in chosen[limit:]]
            if excess:
                await tracking.release(tx, self._id, excess)
        for execution_id in excess:
            self._let_go(execution_id)
        for claim in found:
            if claim.run.execution_id not in excess:
                self._take_up(claim)

    def _rank(self, claim: Claim) -> tuple[bool, datetime]:
        return claim.run.owner_id in self._watched, claim.created_at

    def _take_up(self, claim: Claim) -> None:
        task = asyncio.create_task(self._follow(claim.run), name="tracker: follow")
        self._followers[claim.run.execution_id] = Follower(claim, task)

    def _let_go(self, execution_id: UUID) -> None:
        follower = self._followers.pop(execution_id, None)
        if follower is not None:
            follower.task.cancel()

    async def _follow(self, run: Run) -> None:
        """Record an execution's runs to the last, through outages."""
        try:
            await self._follow_runs(run)
        except (NotRunning, Refused) as error:
            log.debug("Execution %s waits: %s", run.execution_id, error)
            await self._leave_to_others(run)
            # It is still among those followed here, and not taken up again before all others have looked.
            await asyncio.sleep(RETRY_SECONDS + self._options.poll_seconds)
        finally:
            self._failing.pop(repr(run), None)
            # Let go and taken up again, the execution may have another follower by now.
            follower = self._followers.get(run.execution_id)
            if follower is not None and follower.task is asyncio.current_task():
                del self._followers[run.execution_id]

    async def _leave_to_others(self, run: Run) -> None:
        """Have whoever has a place for it follow an execution."""
        with suppress(Unavailable):
            async with self._db.write() as tx:
                await tracking.release(tx, self._id, [run.execution_id])

    async def _follow_runs(self, run: Run) -> None:
        next_run: Run | None = run
        pause_seconds = RETRY_SECONDS
        while next_run is not None:
            try:
                next_run = await self._follow_run(next_run)
            except (NotRunning, Refused):
                raise
            except Unavailable as error:
                self._follow_failed = asyncio.get_running_loop().time()
                self._complain("follow", "The tracker cannot follow", error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 - one execution stops no other
                self._complain(repr(run), f"{run} cannot be recorded", error)
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, MAX_RETRY_SECONDS)

    async def _follow_run(self, run: Run) -> Run | None:
        """Record one run to its end; the run to follow next: the same one where it has not ended."""
        reached = await recorder.follow(self._db, self._temporal, run, wait=True)
        if reached.is_end:
            return reached.next_run
        # While a run is paused Temporal answers long polls at once: it must be asked at intervals.
        while True:
            length = await self._temporal.history_length(run.temporal_workflow_id, run.run_id)
            if length > reached.event_id:
                return run
            await asyncio.sleep(self._options.poll_seconds)

    async def _settle(self) -> None:
        """Finish the starts that their API processes left."""
        while unsettled := await self._claim_unsettled():
            await self._each(partial(starter.settle, self._db, self._temporal), unsettled)

    async def _claim_unsettled(self) -> list[UUID]:
        age = timedelta(seconds=self._options.start_grace_seconds)
        async with self._db.write() as tx:
            return await tracking.claim_unsettled(tx, age, BATCH)

    async def _sweep(self) -> None:
        """Record what closed since the last sweep, of those not followed."""
        hold = timedelta(seconds=self._options.alive_seconds)
        async with self._db.write() as tx:
            watermark = await tracking.hold_sweep(tx, SWEEP, self._id, hold)
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
        await self._each(self._read, [run for run in runs if run.execution_id not in self._followers])

    async def _reconcile(self) -> None:
        """Ask Temporal about the executions that nobody has asked about for long."""
        age = timedelta(seconds=self._options.reconcile_after_seconds)
        async with self._db.write() as tx:
            stale = await tracking.claim_unconfirmed(tx, age, BATCH)
        await self._each(self._confirm, stale)

    async def _prune(self) -> None:
        """Delete events past their retention, so many in one transaction."""
        if self._options.event_retention is None:
            return
        before = datetime.now(UTC) - self._options.event_retention
        while owners := await self._owners_to_prune(before):
            for owner in owners:
                async with self._db.write() as tx:
                    await events.prune(tx, owner, before, PRUNED_AT_ONCE)

    async def _owners_to_prune(self, before: datetime) -> list[str]:
        async with self._db.read() as connection:
            return await events.owners_with_events_before(connection, before, BATCH)

    async def _confirm(self, stale: Stale) -> None:
        run = stale.run
        try:
            length = await self._temporal.history_length(run.temporal_workflow_id, run.run_id)
        except NotRunning:
            if datetime.now(UTC) - stale.created_at > timedelta(seconds=self._options.lost_after_seconds):
                await self._lose(run)
            return
        if length >= stale.next_history_event:
            await self._read(run)

    async def _lose(self, run: Run) -> None:
        """End an execution whose run is gone, unless it goes on in a later one."""
        try:
            later = await self._temporal.present_run(run.temporal_workflow_id)
        except NotRunning:
            await recorder.lose(self._db, run)
        else:
            await recorder.skip_to(self._db, run, later)

    async def _read(self, run: Run) -> None:
        with suppress(NotRunning):
            await recorder.catch_up(self._db, self._temporal, run)

    async def _each(self, step: Callable[[T], Awaitable[None]], items: Sequence[T]) -> None:
        """Take the step for every item, some at once; one that fails stops no other.

        Raises Unavailable at the first outage, and leaves what it has not begun to the next round.
        """
        outage: Unavailable | None = None

        async def take(item: T) -> None:
            nonlocal outage
            async with self._at_once:
                if outage is not None:
                    return
                try:
                    await step(item)
                except Unavailable as error:
                    outage = error
                except Exception as error:  # noqa: BLE001 - one execution stops no other
                    self._complain(repr(item), f"{item} cannot be recorded", error)
                else:
                    self._failing.pop(repr(item), None)

        await asyncio.gather(*map(take, items))
        if outage is not None:
            raise outage

    async def _stop(self) -> None:
        tasks = [follower.task for follower in self._followers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(Unavailable):
            async with self._db.write() as tx:
                await tracking.leave(tx, self._id)
