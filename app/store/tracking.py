"""What the trackers read and lock, over all owners: no caller, so no door to any."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Text,
    Uuid,
    all_,
    any_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy import DateTime as Timestamp
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import col

from app.db import Connection, Transaction
from app.records import ExecutionRecord
from app.statements import Prepared
from app.store.executions import COLUMNS
from app.store.membership import IS_OPEN, one_of
from app.tables import Execution, ExecutionStatus, Sweep, Tracker, Workflow

FORGOTTEN_AFTER = timedelta(hours=1)

_RUN_COLUMNS: Sequence[Any] = [
    col(Execution.id),
    col(Execution.owner_id),
    col(Execution.temporal_workflow_id),
    col(Execution.temporal_run_id),
]


_TRACKED = select(*COLUMNS, col(Execution.next_history_event), col(Execution.cancel_requested_at)).where(
    col(Execution.id) == bindparam("id")
)
_GET = Prepared(_TRACKED)
# With `key_share` those who refer to it, as a rerun does, are not held up.
_LOCK = Prepared(_TRACKED.with_for_update(key_share=True))
_CHANGE = update(Execution).where(col(Execution.id) == bindparam("advanced"))
_ADVANCE = Prepared(_CHANGE)
_PROCEED = Prepared(
    _CHANGE.where(
        col(Execution.version) == bindparam("known_version"),
        col(Execution.next_history_event) == bindparam("known_event"),
    ).returning(col(Execution.id))
)


@dataclass(frozen=True)
class Tracked:
    """An execution and how far its history is recorded."""

    execution: ExecutionRecord
    next_history_event: int
    cancel_requested_at: datetime | None


@dataclass(frozen=True)
class Run:
    """One run on Temporal of an open execution."""

    execution_id: UUID
    owner_id: str
    temporal_workflow_id: str
    run_id: str


@dataclass(frozen=True)
class Claim:
    """A run taken over, and since when there is its execution."""

    run: Run
    created_at: datetime


@dataclass(frozen=True)
class Stale:
    """An open run about which Temporal has not been asked for long."""

    run: Run
    next_history_event: int
    created_at: datetime


@dataclass(frozen=True)
class StartRequest:
    """All that Temporal needs to start an execution."""

    execution: ExecutionRecord
    workflow_type: str
    task_queue: str
    input: Any
    execution_timeout_seconds: int | None
    start_delay_seconds: int | None

    def delay(self, now: datetime) -> timedelta | None:
        """How long the first task still has to wait: a delay counts from the creation on."""
        if self.start_delay_seconds is None:
            return None
        return max(self.execution.created_at + timedelta(seconds=self.start_delay_seconds) - now, timedelta())


async def get(connection: Connection, execution_id: UUID) -> Tracked:
    """The execution as it is now."""
    return await _tracked(connection, _GET, execution_id)


async def lock(tx: Transaction, execution_id: UUID) -> Tracked:
    """The execution, its row locked until the transaction ends."""
    return await _tracked(tx.connection, _LOCK, execution_id)


async def _tracked(connection: Connection, statement: Prepared, execution_id: UUID) -> Tracked:
    row = (await connection.execute(statement, {"id": execution_id})).one()
    return Tracked(ExecutionRecord(*row[: len(COLUMNS)]), row.next_history_event, row.cancel_requested_at)


async def advance(tx: Transaction, execution_id: UUID, **changes: Any) -> None:
    """Change how far an execution is tracked, which is no event."""
    await tx.connection.execute(_ADVANCE, {"advanced": execution_id, **changes})


async def proceed(tx: Transaction, tracked: Tracked, **changes: Any) -> bool:
    """As `advance`, of an execution that is still as it was read; whether it is."""
    known = {"known_version": tracked.execution.version, "known_event": tracked.next_history_event}
    found = await tx.connection.execute(_PROCEED, {"advanced": tracked.execution.id, **known, **changes})
    return bool(found.records)


async def stay_alive(tx: Transaction, tracker_id: UUID, hold: timedelta) -> None:
    """Keep a tracker's hold on what it follows and sweeps, and forget trackers that are long gone.

    The database's clock counts: those of the trackers may differ.
    """
    until = func.now() + hold
    row = upsert(Tracker).values(id=tracker_id, alive_until=until)
    await tx.connection.execute(
        row.on_conflict_do_update(index_elements=[col(Tracker.id)], set_={"alive_until": until})
    )
    mine = (col(Sweep.holder) == tracker_id) & (col(Sweep.held_until) > func.now())
    await tx.connection.execute(update(Sweep).where(mine).values(held_until=until))
    long_gone = col(Tracker.alive_until) < func.now() - FORGOTTEN_AFTER
    await tx.connection.execute(delete(Tracker).where(long_gone))


async def leave(tx: Transaction, tracker_id: UUID) -> None:
    """End a tracker's hold on everything."""
    await tx.connection.execute(delete(Tracker).where(col(Tracker.id) == tracker_id))
    await tx.connection.execute(
        update(Sweep).where(col(Sweep.holder) == tracker_id).values(held_until=func.now())
    )


async def claim(
    tx: Transaction,
    tracker_id: UUID,
    watched: Sequence[str],
    followed: Sequence[UUID],
    limit: int,
    *,
    above: tuple[bool, datetime] | None = None,
) -> list[Claim]:
    """Take over open runs that no living tracker follows: watched owners' first, then the newest.

    Only those `above` a rank where it is given: whether the owner is watched, and the time of creation.
    """
    given = {"tracker": tracker_id, "watched": list(watched), "followed": list(followed), "size": limit}
    if above is None:
        rows = await tx.connection.execute(_claim(None), given)
    else:
        is_watched, created_at = above
        rows = await tx.connection.execute(_claim(is_watched), {**given, "rank": created_at})
    return [Claim(Run(*row[: len(_RUN_COLUMNS)]), row.created_at) for row in rows]


@cache
def _claim(above: bool | None) -> Prepared:
    """The statement for `claim`: with `above` for those above the rank of a watched run, or of another."""
    tracker = bindparam("tracker", type_=Uuid())
    alive = select(col(Tracker.id)).where(col(Tracker.alive_until) > func.now(), col(Tracker.id) != tracker)
    is_watched = col(Execution.owner_id) == any_(bindparam("watched", type_=ARRAY(Text())))
    free = (
        select(col(Execution.id))
        .where(_open_run(), col(Execution.id) != all_(bindparam("followed", type_=ARRAY(Uuid()))))
        .where(or_(col(Execution.tracker_id).is_(None), col(Execution.tracker_id).not_in(alive)))
        .order_by(is_watched.desc(), col(Execution.created_at).desc())
        .limit(bindparam("size", type_=Integer))
        .with_for_update(skip_locked=True, key_share=True)
    )
    if above is not None:
        newer = col(Execution.created_at) > bindparam("rank", type_=Timestamp(timezone=True))
        free = free.where(is_watched & newer if above else is_watched | newer)
    return Prepared(
        update(Execution)
        .where(col(Execution.id).in_(free))
        .values(tracker_id=tracker)
        .returning(*_RUN_COLUMNS, col(Execution.created_at))
    )


async def release(tx: Transaction, tracker_id: UUID, execution_ids: Sequence[UUID]) -> None:
    """Let go of executions: any tracker may follow them."""
    mine = (col(Execution.tracker_id) == tracker_id) & one_of(col(Execution.id), execution_ids)
    await tx.connection.execute(update(Execution).where(mine).values(tracker_id=None))


async def held(connection: Connection, tracker_id: UUID) -> set[UUID]:
    """The open executions that no other tracker has taken over."""
    query = select(col(Execution.id)).where(_open_run(), col(Execution.tracker_id) == tracker_id)
    return set((await connection.execute(query)).scalars())


async def claim_unconfirmed(tx: Transaction, age: timedelta, limit: int) -> list[Stale]:
    """Open runs about which Temporal was not asked for so long; they count as confirmed from now on."""
    stale = (
        select(col(Execution.id))
        .where(_open_run(), col(Execution.confirmed_at) < func.now() - age)
        .order_by(col(Execution.confirmed_at))
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    taken = (
        update(Execution)
        .where(col(Execution.id).in_(stale))
        .values(confirmed_at=func.now())
        .returning(*_RUN_COLUMNS, col(Execution.next_history_event), col(Execution.created_at))
    )
    rows = await tx.connection.execute(taken)
    return [Stale(Run(*row[: len(_RUN_COLUMNS)]), row.next_history_event, row.created_at) for row in rows]


async def open_runs_of(connection: Connection, temporal_workflow_ids: Sequence[str]) -> list[Run]:
    """Those of the workflow ids that are open here, each with its run."""
    if not temporal_workflow_ids:
        return []
    wanted = one_of(col(Execution.temporal_workflow_id), temporal_workflow_ids)
    query = select(*_RUN_COLUMNS).where(_open_run(), wanted)
    return [Run(*row) for row in await connection.execute(query)]


async def paused(connection: Connection) -> set[str]:
    """The workflow ids of the executions that are PAUSED here."""
    query = select(col(Execution.temporal_workflow_id)).where(
        _open_run(), col(Execution.status) == ExecutionStatus.PAUSED
    )
    return set((await connection.execute(query)).scalars())


async def hold_sweep(tx: Transaction, name: str, tracker_id: UUID, hold: timedelta) -> datetime | None:
    """Take or keep a kind of sweep; how far it has come, or None where another tracker does it."""
    until = func.now() + hold
    row = upsert(Sweep).values(name=name, holder=tracker_id, held_until=until, watermark=_oldest_open())
    free = or_(col(Sweep.holder) == tracker_id, col(Sweep.held_until) < func.now())
    held = row.on_conflict_do_update(
        index_elements=[col(Sweep.name)], set_={"holder": tracker_id, "held_until": until}, where=free
    )
    watermark: datetime | None = (
        await tx.connection.execute(held.returning(col(Sweep.watermark)))
    ).scalar_one_or_none()
    return watermark


async def move_watermark(tx: Transaction, name: str, tracker_id: UUID, watermark: datetime) -> None:
    """Remember how far a sweep has come, unless another tracker has taken it over; it never goes back.

    Nor does it go ahead of the present, whatever the clock says by which it was read.
    """
    held = (col(Sweep.name) == name) & (col(Sweep.holder) == tracker_id)
    farthest = func.greatest(col(Sweep.watermark), func.least(watermark, func.now()))
    await tx.connection.execute(update(Sweep).where(held).values(watermark=farthest))


def _open_run() -> ColumnElement[bool]:
    return IS_OPEN & col(Execution.temporal_run_id).is_not(None)


def _oldest_open() -> Any:
    """Where a first sweep begins."""
    oldest = select(func.min(col(Execution.created_at))).where(IS_OPEN).scalar_subquery()
    return func.coalesce(oldest, func.now())


async def claim_unsettled(tx: Transaction, age: timedelta, limit: int) -> list[UUID]:
    """The oldest executions whose start is unsettled and was not tried for so long.

    They count as tried from now on: of several trackers one tries each.
    """
    unsettled = (
        select(col(Execution.id))
        .where(col(Execution.start_unsettled), col(Execution.confirmed_at) < func.now() - age)
        .order_by(col(Execution.created_at))
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    taken = (
        update(Execution)
        .where(col(Execution.id).in_(unsettled))
        .values(confirmed_at=func.now())
        .returning(col(Execution.id))
    )
    return list((await tx.connection.execute(taken)).scalars())


async def start_request(connection: Connection, execution_id: UUID) -> StartRequest:
    """What Temporal needs to start the execution, which is given as it is now."""
    query = (
        select(
            *COLUMNS,
            col(Workflow.workflow_type),
            col(Workflow.task_queue),
            col(Execution.input),
            col(Workflow.execution_timeout),
            col(Execution.start_delay),
        )
        .join(Workflow, col(Workflow.id) == col(Execution.workflow_id))
        .where(col(Execution.id) == execution_id)
    )
    row = (await connection.execute(query)).one()
    return StartRequest(ExecutionRecord(*row[: len(COLUMNS)]), *row[len(COLUMNS) :])
