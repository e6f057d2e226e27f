"""The Temporal half of a start: safe to repeat, by anyone, until it is settled."""

from dataclasses import asdict
from datetime import UTC, datetime
from uuid import UUID

from app.db import Database, Transaction
from app.errors import StartRejected
from app.records import Draft, ExecutionRecord, FailureRecord
from app.store import events, tracking
from app.store.tracking import StartRequest
from app.tables import EventType, ExecutionStatus, FailureReason
from app.temporal import NotRunning, Temporal
from app.transitions import TERMINAL


async def start(db: Database, temporal: Temporal, request: StartRequest) -> ExecutionRecord:
    """Start on Temporal what was inserted PENDING and record it; raises Unavailable, and it stays PENDING."""
    try:
        run_id = await temporal.start(request)
    except StartRejected as error:
        return await _reject(db, request.execution.id, error.message)
    execution = await _accept(db, request.execution, run_id)
    if execution.status in TERMINAL and execution.temporal_run_id is None:
        await _withdraw(db, temporal, execution)
    return execution


async def settle(db: Database, temporal: Temporal, execution_id: UUID) -> None:
    """Finish a start that its API process left, unless another has meanwhile; raises Unavailable."""
    async with db.read() as connection:
        request = await tracking.start_request(connection, execution_id)
    if request.execution.status is ExecutionStatus.PENDING:
        await start(db, temporal, request)
    elif request.execution.status is ExecutionStatus.CANCELLED:
        await _withdraw(db, temporal, request.execution)


async def _accept(db: Database, execution: ExecutionRecord, run_id: str) -> ExecutionRecord:
    """Record that an execution runs which was PENDING, unless it is not any more."""
    async with db.write_once() as tx:
        started = await _record_started(tx, execution, run_id)
    if started is not None:
        return started
    # Something has happened to it meanwhile.
    async with db.write() as tx:
        present = (await tracking.lock(tx, execution.id)).execution
        if present.status is not ExecutionStatus.PENDING:
            return present
        return await _record_started(tx, present, run_id) or present


async def _record_started(tx: Transaction, execution: ExecutionRecord, run_id: str) -> ExecutionRecord | None:
    now = datetime.now(UTC)
    draft = Draft(
        EventType.EXECUTION_STARTED, "Started", now, ExecutionStatus.RUNNING, changes={"started_at": now}
    )
    # The run's first history event is this start: it is recorded herewith.
    deliveries = await events.append(
        tx, execution, [draft], temporal_run_id=run_id, next_history_event=2, start_unsettled=False
    )
    return deliveries[-1].execution if deliveries else None


async def _reject(db: Database, execution_id: UUID, message: str) -> ExecutionRecord:
    now = datetime.now(UTC)
    failure = asdict(FailureRecord(FailureReason.START_REJECTED, message))
    draft = Draft(
        EventType.EXECUTION_FAILED,
        f"Temporal refused the start: {message}",
        now,
        ExecutionStatus.FAILED,
        changes={"failure": failure, "completed_at": now},
    )
    async with db.write() as tx:
        present = (await tracking.lock(tx, execution_id)).execution
        # Another's start may have been taken, or it was cancelled, and withdrawing it settles it.
        if present.status is not ExecutionStatus.PENDING:
            return present
        deliveries = await events.append(tx, present, [draft], start_unsettled=False)
    return deliveries[-1].execution


async def _withdraw(db: Database, temporal: Temporal, execution: ExecutionRecord) -> None:
    """End on Temporal what ended here while its start was on the way; it may be so still."""
    reason = f"{execution.status.capitalize()} before it was started"
    try:
        await temporal.terminate(execution.temporal_workflow_id, execution.owner_id, reason)
    except NotRunning:
        if datetime.now(UTC) - execution.updated_at < 2 * temporal.longest_call:
            return
    async with db.write_once() as tx:
        await tracking.advance(tx, execution.id, start_unsettled=False)
