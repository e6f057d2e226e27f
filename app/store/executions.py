"""Executions in Postgres. They change only through `events.append`."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, func, insert, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from app.auth import Caller
from app.db import Transaction
from app.errors import Forbidden, NotFound
from app.filters import ExecutionFilter
from app.paging import NewestKey, Page, cut
from app.records import ExecutionRecord
from app.tables import Execution, ExecutionStatus

COLUMNS: Sequence[Any] = [
    col(Execution.id),
    col(Execution.owner_id),
    col(Execution.workflow_id),
    col(Execution.status),
    col(Execution.version),
    col(Execution.failure),
    col(Execution.labels),
    col(Execution.rerun_of),
    col(Execution.started_by),
    col(Execution.temporal_workflow_id),
    col(Execution.temporal_run_id),
    col(Execution.created_at),
    col(Execution.started_at),
    col(Execution.completed_at),
    col(Execution.updated_at),
]


def visible(caller: Caller) -> ColumnElement[bool]:
    """The executions that the caller may see."""
    return true() if caller.is_admin else col(Execution.owner_id) == caller.owner


async def create(tx: Transaction, values: dict[str, Any]) -> ExecutionRecord:
    """Insert an execution at version 0; its first event makes that 1."""
    result = await tx.connection.execute(insert(Execution).values(version=0, **values).returning(*COLUMNS))
    return ExecutionRecord(*result.one())


async def get(connection: AsyncConnection, caller: Caller, execution_id: UUID) -> ExecutionRecord:
    """One execution; raises NotFound, or Forbidden where it is another owner's."""
    result = await connection.execute(select(*COLUMNS).where(col(Execution.id) == execution_id))
    return _permitted(result.one_or_none(), caller, execution_id)


async def lock(tx: Transaction, caller: Caller, execution_id: UUID) -> ExecutionRecord:
    """One execution, its row locked until the transaction ends; raises NotFound or Forbidden."""
    query = select(*COLUMNS).where(col(Execution.id) == execution_id).with_for_update()
    return _permitted((await tx.connection.execute(query)).one_or_none(), caller, execution_id)


async def by_ids(
    connection: AsyncConnection, caller: Caller, ids: Sequence[UUID]
) -> dict[UUID, ExecutionRecord]:
    """Those of the executions that exist and that the caller may see."""
    query = select(*COLUMNS).where(visible(caller), col(Execution.id).in_(set(ids)))
    return {row.id: ExecutionRecord(*row) for row in await connection.execute(query)}


async def newest(
    connection: AsyncConnection, caller: Caller, size: int, after: NewestKey | None
) -> Page[ExecutionRecord]:
    """A page of the caller's executions, newest first."""
    query = select(*COLUMNS).where(visible(caller))
    if after is not None:
        key = tuple_(col(Execution.created_at), col(Execution.id))
        query = query.where(key < tuple_(after.created_at, after.id))
    ordered = query.order_by(col(Execution.created_at).desc(), col(Execution.id).desc()).limit(size + 1)
    rows = (await connection.execute(ordered)).all()
    return cut([ExecutionRecord(*row) for row in rows], size, has_previous=after is not None)


async def count(connection: AsyncConnection, caller: Caller) -> int:
    """How many executions the caller's list has in all."""
    query = select(func.count()).select_from(Execution).where(visible(caller))
    return (await connection.execute(query)).scalar_one()


async def counts(
    connection: AsyncConnection, caller: Caller, chosen: ExecutionFilter
) -> dict[ExecutionStatus, int]:
    """How many of the caller's executions there are of each status."""
    query = select(col(Execution.status), func.count()).where(visible(caller), *_conditions(chosen))
    rows = await connection.execute(query.group_by(col(Execution.status)))
    found = {row[0]: row[1] for row in rows}
    return {status: found.get(status, 0) for status in ExecutionStatus}


async def payloads(
    connection: AsyncConnection, caller: Caller, ids: Sequence[UUID]
) -> dict[UUID, tuple[Any, Any]]:
    """`(input, output)` of those executions that the caller may see."""
    query = select(col(Execution.id), col(Execution.input), col(Execution.output))
    rows = await connection.execute(query.where(visible(caller), col(Execution.id).in_(set(ids))))
    return {row.id: (row.input, row.output) for row in rows}


def _permitted(row: Row[*tuple[Any, ...]] | None, caller: Caller, execution_id: UUID) -> ExecutionRecord:
    if row is None:
        raise NotFound("execution", execution_id)
    if not caller.may_see(row.owner_id):
        raise Forbidden("This execution belongs to another user.")
    return ExecutionRecord(*row)


def _conditions(chosen: ExecutionFilter) -> Iterator[ColumnElement[bool]]:
    if chosen.workflow_ids is not None:
        yield col(Execution.workflow_id).in_(chosen.workflow_ids)
    if chosen.statuses is not None:
        yield col(Execution.status).in_(chosen.statuses)
    for column, period in (
        (Execution.created_at, chosen.created),
        (Execution.completed_at, chosen.completed),
    ):
        if period.start is not None:
            yield col(column) >= period.start
        if period.end is not None:
            yield col(column) < period.end
