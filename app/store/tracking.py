"""What the trackers read and lock, over all owners: no caller, so no door to any."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.db import Transaction
from app.records import ExecutionRecord
from app.store.executions import COLUMNS
from app.tables import Execution, ExecutionStatus, Workflow
from app.transitions import OPEN


@dataclass(frozen=True)
class Tracked:
    """A locked execution and how far its history is recorded."""

    execution: ExecutionRecord
    next_history_event: int
    cancel_requested_at: datetime | None


@dataclass(frozen=True)
class Run:
    """One run on Temporal of an open execution."""

    execution_id: UUID
    temporal_workflow_id: str
    run_id: str


@dataclass(frozen=True)
class StartRequest:
    """All that Temporal needs to start an execution."""

    execution_id: UUID
    owner_id: str
    temporal_workflow_id: str
    workflow_type: str
    task_queue: str
    input: Any
    execution_timeout_seconds: int | None


async def lock(tx: Transaction, execution_id: UUID) -> Tracked:
    """The execution, its row locked until the transaction ends."""
    query = (
        select(*COLUMNS, col(Execution.next_history_event), col(Execution.cancel_requested_at))
        .where(col(Execution.id) == execution_id)
        .with_for_update()
    )
    row = (await tx.connection.execute(query)).one()
    return Tracked(ExecutionRecord(*row[: len(COLUMNS)]), row.next_history_event, row.cancel_requested_at)


async def advance(tx: Transaction, execution_id: UUID, **changes: Any) -> None:
    """Change how far an execution is tracked, which is no event."""
    await tx.connection.execute(update(Execution).where(col(Execution.id) == execution_id).values(**changes))


async def open_runs(connection: AsyncConnection, excluded: Sequence[UUID], limit: int) -> list[Run]:
    """The newest open runs besides those excluded."""
    query = (
        select(col(Execution.id), col(Execution.temporal_workflow_id), col(Execution.temporal_run_id))
        .where(col(Execution.status).in_(OPEN), col(Execution.temporal_run_id).is_not(None))
        .where(col(Execution.id).not_in(excluded))
        .order_by(col(Execution.created_at).desc())
        .limit(limit)
    )
    rows = await connection.execute(query)
    return [Run(row.id, row.temporal_workflow_id, row.temporal_run_id) for row in rows]


async def unsettled_starts(connection: AsyncConnection, before: datetime, limit: int) -> list[UUID]:
    """Executions created before an instant whose start may not have reached Temporal, oldest first."""
    query = (
        select(col(Execution.id))
        .where(col(Execution.start_unsettled), col(Execution.created_at) < before)
        .order_by(col(Execution.created_at))
        .limit(limit)
    )
    return list((await connection.execute(query)).scalars())


async def start_request(
    connection: AsyncConnection, execution_id: UUID
) -> tuple[StartRequest, ExecutionStatus]:
    """What Temporal needs to start the execution, and the status it has."""
    query = (
        select(
            col(Execution.id),
            col(Execution.owner_id),
            col(Execution.temporal_workflow_id),
            col(Workflow.workflow_type),
            col(Workflow.task_queue),
            col(Execution.input),
            col(Workflow.execution_timeout),
            col(Execution.status),
        )
        .join(Workflow, col(Workflow.id) == col(Execution.workflow_id))
        .where(col(Execution.id) == execution_id)
    )
    *request, status = (await connection.execute(query)).one()
    return StartRequest(*request), status
