"""Temporal's history into the event log: each event once, in order, however often it is read."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from app.db import Database, Plans
from app.history import Step, Transcript
from app.records import Draft, FailureRecord
from app.store import events, tracking
from app.store.tracking import Run, Tracked
from app.tables import EventType, ExecutionStatus, FailureReason
from app.temporal import Temporal
from app.transitions import TERMINAL


async def follow(db: Database, temporal: Temporal, run: Run, *, wait: bool) -> Run | None:
    """Record one run, to its end if asked to wait for it; the run that carries the execution on, if one does.

    Waiting ends early while a run is paused: Temporal then answers long polls at once. Raises Unavailable,
    and NotRunning where Temporal does not have the run.
    """
    transcript, steps = Transcript(), list[Step]()
    async for page in temporal.history(run.temporal_workflow_id, run.run_id, wait=wait):
        steps = [transcript.read(event) for event in page]
        if steps[-1].terminated:
            steps[-1] = await _reset_or_terminated(temporal, run, steps[-1])
        await record(db, run, steps)
    next_run_id = steps[-1].next_run_id if steps else None
    return None if next_run_id is None else replace(run, run_id=next_run_id)


async def catch_up(db: Database, temporal: Temporal, run: Run) -> None:
    """Record what there is of an execution now, run after run; raises as `follow` does."""
    next_run: Run | None = run
    while next_run is not None:
        next_run = await follow(db, temporal, next_run, wait=False)


async def record(db: Database, run: Run, steps: Sequence[Step]) -> None:
    """Record the steps of a run that are new, in one transaction with the status.

    Steps may be given again, by any number of trackers: each is recorded once, in order, and steps
    that would leave out one before them are left for the next reading.
    """
    async with db.write(Plans.FOR_ALL) as tx:
        tracked = await tracking.lock(tx, run.execution_id)
        if tracked.execution.temporal_run_id != run.run_id or tracked.execution.status in TERMINAL:
            return
        fresh = _contiguous(steps, tracked.next_history_event)
        if drafts := _drafts(tracked, fresh):
            await events.append(tx, tracked.execution, drafts, **_progress(fresh))
        elif fresh:
            await tracking.advance(tx, run.execution_id, **_progress(fresh))


async def lose(db: Database, run: Run) -> None:
    """Record that Temporal no longer has the run: nobody can tell how it ended."""
    now = datetime.now(UTC)
    message = "Temporal no longer has this execution: its retention ended before its end was read"
    draft = Draft(
        EventType.EXECUTION_FAILED,
        message,
        now,
        ExecutionStatus.FAILED,
        changes={"completed_at": now, "failure": asdict(FailureRecord(FailureReason.LOST, message))},
    )
    async with db.write() as tx:
        tracked = await tracking.lock(tx, run.execution_id)
        if tracked.execution.temporal_run_id == run.run_id:
            await events.append(tx, tracked.execution, [draft])


async def _reset_or_terminated(temporal: Temporal, run: Run, step: Step) -> Step:
    """A reset terminates the run that it replaces: the execution goes on behind the fork of the new one."""
    reset = await temporal.reset_of(run.temporal_workflow_id, run.run_id)
    if reset is None:
        return step
    moment = step.draft.timestamp if step.draft else datetime.now(UTC)
    draft = Draft(
        EventType.EXECUTION_CONTINUED, "Reset to an earlier point", moment, details={"runId": reset.run_id}
    )
    return Step(step.event_id, draft, next_run_id=reset.run_id, next_event_id=reset.first_new_event)


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
