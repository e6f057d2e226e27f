"""Temporal's history into the event log: follows open runs, finishes unsettled starts."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app import starter
from app.bus import GAP, Bus
from app.db import Database
from app.errors import Unavailable
from app.history import Step, Transcript
from app.records import Draft
from app.store import events, tracking
from app.store.tracking import Run, Tracked
from app.tables import EventType, ExecutionStatus
from app.temporal import NotRunning, Temporal
from app.transitions import TERMINAL

log = logging.getLogger(__name__)

CHANNEL = "tracker"
RETRY_SECONDS = 1.0
STARTS_AT_ONCE = 50


def ring(bus: Bus) -> None:
    """Tell the trackers that there is a new run to follow, sooner than they would find it."""
    bus.publish(CHANNEL, "")


async def record(db: Database, run: Run, steps: Sequence[Step]) -> None:
    """Record the steps of a run that are new, in one transaction with the status.

    Steps may be given again, by any number of trackers: each is recorded once, in order, and steps
    that would leave out one before them are left for the next reading.
    """
    async with db.write() as tx:
        tracked = await tracking.lock(tx, run.execution_id)
        if tracked.execution.temporal_run_id != run.run_id or tracked.execution.status in TERMINAL:
            return
        fresh = _contiguous(steps, tracked.next_history_event)
        if not fresh:
            return
        await tracking.advance(tx, run.execution_id, **_progress(fresh))
        await events.append(tx, tracked.execution, _drafts(tracked, fresh))


def _contiguous(steps: Sequence[Step], expected: int) -> list[Step]:
    fresh = []
    for step in steps:
        if step.event_id == expected:
            fresh.append(step)
            expected += 1
    return fresh


def _progress(fresh: Sequence[Step]) -> dict[str, Any]:
    last = fresh[-1]
    if last.next_run_id is not None:
        return {"temporal_run_id": last.next_run_id, "next_history_event": 1}
    return {"next_history_event": last.event_id + 1}


def _drafts(tracked: Tracked, fresh: Sequence[Step]) -> list[Draft]:
    """The drafts of the steps, less those that the API has recorded itself."""
    drafts = [step.draft for step in fresh if step.draft is not None]
    if tracked.execution.status is not ExecutionStatus.PENDING:
        drafts = [draft for draft in drafts if draft.type is not EventType.EXECUTION_STARTED]
    if tracked.cancel_requested_at is not None:
        drafts = [draft for draft in drafts if draft.type is not EventType.EXECUTION_CANCEL_REQUESTED]
    return drafts


class Tracker:
    """Follows the newest open runs, each by a long poll, and finishes the starts that others left."""

    def __init__(
        self,
        db: Database,
        bus: Bus,
        temporal: Temporal,
        *,
        follow_limit: int,
        poll_seconds: float,
        start_grace_seconds: float,
    ) -> None:
        self._db = db
        self._bus = bus
        self._temporal = temporal
        self._follow_limit = follow_limit
        self._poll_seconds = poll_seconds
        self._start_grace = timedelta(seconds=start_grace_seconds)
        self._followers: dict[UUID, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Track until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._poll(), name="tracker: poll")
                tasks.create_task(self._listen(), name="tracker: listen")
        finally:
            await self._stop_following()

    async def _poll(self) -> None:
        while True:
            await self._attempt(self._discover())
            await self._attempt(self._settle())
            await asyncio.sleep(self._poll_seconds)

    async def _listen(self) -> None:
        async with self._bus.subscribe(CHANNEL) as subscription:
            while True:
                if await subscription.get() is not GAP:
                    await self._attempt(self._discover())

    async def _attempt(self, step: Awaitable[None]) -> None:
        """Run one step of a loop that must go on whatever happens to it."""
        try:
            await step
        except Unavailable as error:
            log.warning("The tracker waits: %s", error.message)
        except Exception:
            log.exception("A step of the tracker failed")

    async def _discover(self) -> None:
        room = self._follow_limit - len(self._followers)
        if room <= 0:
            return
        async with self._db.read() as connection:
            runs = await tracking.open_runs(connection, list(self._followers), room)
        for run in runs:
            if run.execution_id not in self._followers:
                self._followers[run.execution_id] = asyncio.create_task(
                    self._follow(run), name="tracker: follow"
                )

    async def _follow(self, run: Run) -> None:
        """Record an execution's runs to the last; after a failure the execution is discovered again."""
        next_run: Run | None = run
        try:
            while next_run is not None:
                next_run = await self._record_all(next_run)
        except Unavailable as error:
            log.warning("Execution %s waits: %s", run.execution_id, error.message)
            await asyncio.sleep(RETRY_SECONDS)
        except NotRunning:
            log.warning("Execution %s: Temporal no longer has its run", run.execution_id)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            log.exception("Execution %s cannot be recorded", run.execution_id)
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            del self._followers[run.execution_id]

    async def _record_all(self, run: Run) -> Run | None:
        """Record one run to its end; the run that carries the execution on, if one does."""
        transcript, steps = Transcript(), list[Step]()
        async for page in self._temporal.history(run.temporal_workflow_id, run.run_id):
            steps = [transcript.read(event) for event in page]
            await record(self._db, run, steps)
        next_run_id = steps[-1].next_run_id if steps else None
        return None if next_run_id is None else replace(run, run_id=next_run_id)

    async def _settle(self) -> None:
        before = datetime.now(UTC) - self._start_grace
        async with self._db.read() as connection:
            unsettled = await tracking.unsettled_starts(connection, before, STARTS_AT_ONCE)
        for execution_id in unsettled:
            await self._attempt(starter.settle(self._db, self._temporal, execution_id))

    async def _stop_following(self) -> None:
        followers = list(self._followers.values())
        for task in followers:
            task.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
