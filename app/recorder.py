"""Temporal's history into the event log: each event once, in order, however often it is read."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from app.db import Database, Plans, Transaction
from app.history import Step, Transcript
from app.records import Draft, FailureRecord
from app.store import events, tracking
from app.store.tracking import Run, Tracked
from app.tables import EventType, ExecutionStatus, FailureReason
from app.temporal import Temporal
from app.transitions import TERMINAL


class Reached(NamedTuple):
    """To which event a run was read, whether that ends it, and which run carries the execution on, if any."""

    event_id: int
    is_end: bool
    next_run: Run | None


async def follow(db: Database, temporal: Temporal, run: Run, *, wait: bool) -> Reached:
    """Record one run, to its end if asked to wait for it.

    Waiting ends early while a run is paused: Temporal then answers long polls at once, at times before they
    have its last event. Raises Unavailable, and NotRunning where Temporal does not have the run.
    """
    transcript, steps = Transcript(), list[Step]()
    async for page in temporal.history(run.temporal_workflow_id, run.run_id, wait=wait):
        steps = [transcript.read(event) for event in page]
        if steps[-1].terminated:
            steps[-1] = await _reset_or_terminated(temporal, run, steps[-1])
        await record(db, run, steps)
    if not steps:
        return Reached(0, is_end=False, next_run=None)
    last = steps[-1]
    next_run = None if last.next_run_id is None else replace(run, run_id=last.next_run_id)
    has_ended = last.draft is not None and last.draft.status in TERMINAL
    return Reached(last.event_id, has_ended or next_run is not None, next_run)


async def catch_up(db: Database, temporal: Temporal, run: Run) -> None:
    """Record what there is of an execution now, run after run; raises as `follow` does."""
    next_run: Run | None = run
    while next_run is not None:
        next_run = (await follow(db, temporal, next_run, wait=False)).next_run


async def record(db: Database, run: Run, steps: Sequence[Step]) -> None:
    """Record the steps of a run that are new, in one transaction with the status.

    Steps may be given again, by any number of trackers: each is recorded once, in order, and steps
    that would leave out one before them are left for the next reading.
    """
    async with db.read(Plans.FOR_ALL) as connection:
        tracked = await tracking.get(connection, run.execution_id)
    if fresh := _fresh(tracked, run, steps):
        async with db.write_once() as tx:
            if await _continue(tx, tracked, fresh):
                return
        # Something has happened to it meanwhile.
        async with db.write(Plans.FOR_ALL) as tx:
            tracked = await tracking.lock(tx, run.execution_id)
            if fresh := _fresh(tracked, run, steps):
                await _continue(tx, tracked, fresh)


async def lose(db: Database, run: Run) -> None:
    """Record that Temporal no longer has the run, nor any later one: nobody can tell how it ended."""
    now = datetime.now(UTC)
    message = "Temporal no longer has this execution: its retention ended before its end was read"
    failure = asdict(FailureRecord(FailureReason.LOST, message))
    changes = {"completed_at": now, "failure": failure}
    draft = Draft(EventType.EXECUTION_FAILED, message, now, ExecutionStatus.FAILED, changes=changes)
    await _leave(db, run, draft)


async def skip_to(db: Database, run: Run, later_run_id: str) -> None:
    """Record that the execution goes on in a later run: Temporal has that one, and this no longer."""
    message = "Continued in a later run: Temporal no longer has what was before it"
    draft = _continued(message, datetime.now(UTC), later_run_id)
    await _leave(db, run, draft, temporal_run_id=later_run_id, next_history_event=1)


async def _leave(db: Database, run: Run, draft: Draft, **changes: Any) -> None:
    """Record what is to be told of an execution that is in this run still."""
    async with db.write() as tx:
        tracked = await tracking.lock(tx, run.execution_id)
        if tracked.execution.temporal_run_id == run.run_id:
            await events.append(tx, tracked.execution, [draft], **changes)


async def _reset_or_terminated(temporal: Temporal, run: Run, step: Step) -> Step:
    """A reset terminates the run that it replaces: the execution goes on behind the fork of the new one."""
    reset = await temporal.reset_of(run.temporal_workflow_id, run.run_id)
    if reset is None:
        return step
    moment = step.draft.timestamp if step.draft else datetime.now(UTC)
    draft = _continued("Reset to an earlier point", moment, reset.run_id)
    return Step(step.event_id, draft, next_run_id=reset.run_id, next_event_id=reset.first_new_event)


def _continued(message: str, moment: datetime, run_id: str) -> Draft:
    """The draft of what goes on in another run, which is not paused, even where the one before it was."""
    details = {"runId": run_id}
    return Draft(EventType.EXECUTION_CONTINUED, message, moment, ExecutionStatus.RUNNING, details=details)


async def _continue(tx: Transaction, tracked: Tracked, fresh: Sequence[Step]) -> bool:
    """Record fresh steps in one statement; nothing, and False, where they are not the next any more."""
    if drafts := _drafts(tracked, fresh):
        return bool(await events.append(tx, tracked.execution, drafts, **_progress(fresh)))
    return await tracking.proceed(tx, tracked, **_progress(fresh))


def _fresh(tracked: Tracked, run: Run, steps: Sequence[Step]) -> list[Step]:
    """The steps that come next, where they are of the run in which the execution is, and that is open."""
    execution, expected, fresh = tracked.execution, tracked.next_history_event, list[Step]()
    if execution.temporal_run_id != run.run_id or execution.status in TERMINAL:
        return fresh
    for step in steps:
        if step.event_id == expected:
            fresh.append(step)
            expected += 1
    return fresh


def _progress(fresh: Sequence[Step]) -> dict[str, Any]:
    last = fresh[-1]
    if last.next_run_id is not None:
        return {"temporal_run_id": last.next_run_id, "next_history_event": last.next_event_id}
    return {"next_history_event": last.event_id + 1}


def _drafts(tracked: Tracked, fresh: Sequence[Step]) -> list[Draft]:
    """The drafts of the steps, less those that the API has recorded itself."""
    drafts = [step.draft for step in fresh if step.draft is not None]
    if tracked.execution.status is not ExecutionStatus.PENDING:
        drafts = [draft for draft in drafts if draft.type is not EventType.EXECUTION_STARTED]
    if tracked.cancel_requested_at is not None:
        drafts = [draft for draft in drafts if draft.type is not EventType.EXECUTION_CANCEL_REQUESTED]
    return drafts
