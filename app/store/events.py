"""The event log: appended in the transaction that changes the execution, read by position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import takewhile
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Text,
    Uuid,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.dml import ReturningInsert
from sqlmodel import col

from app.auth import Caller
from app.db import Connection, Transaction
from app.errors import CursorExpired
from app.filters import EVERY_EVENT, ExecutionEventFilter
from app.paging import Page, Window
from app.records import Delivery, Draft, EventRecord, ExecutionRecord
from app.rendering import Fieldset, Rendered
from app.statements import SHAPES, Prepared
from app.statements import Rows as Result
from app.store import executions, keyset, narrowing, tallies
from app.store.keyset import Order, Rows
from app.store.membership import IS_OPEN, one_of
from app.store.rendering import json_of, rendered
from app.tables import EventType, Execution, ExecutionEvent, ExecutionStatus, Feed
from app.transitions import TERMINAL

COLUMNS: Sequence[Any] = [
    col(ExecutionEvent.owner_id),
    col(ExecutionEvent.position),
    col(ExecutionEvent.execution_id),
    col(ExecutionEvent.version),
    col(ExecutionEvent.type),
    col(ExecutionEvent.status),
    col(ExecutionEvent.message),
    col(ExecutionEvent.timestamp),
    col(ExecutionEvent.actor),
    col(ExecutionEvent.details),
    col(ExecutionEvent.recorded_at),
]


_TABLE: Any = ExecutionEvent.__table__  # type: ignore[attr-defined]  # SQLModel's types do not have it
# What can be rendered, by the names of attributes.
_RENDERED: Mapping[str, Any] = {
    **{column.key: column for column in COLUMNS},
    "id": cast(col(ExecutionEvent.execution_id), Text)
    + literal_column("':'", Text)
    + cast(col(ExecutionEvent.version), Text),
}
_BY_POSITION = Order(col(ExecutionEvent.position), descending=False)


@dataclass(frozen=True)
class Bounds:
    """A feed holds the positions above `pruned_through`, up to `head`; both are 0 before the first event."""

    pruned_through: int
    head: int


def visible(caller: Caller) -> ColumnElement[bool]:
    """The events that the caller may see."""
    return true() if caller.is_admin else col(ExecutionEvent.owner_id) == caller.owner


async def append(
    tx: Transaction, execution: ExecutionRecord, drafts: Sequence[Draft], **changes: Any
) -> list[Delivery]:
    """Append events to a locked execution and change it with them; an ended execution takes none.

    `changes` are further columns of the execution. Lock order: execution rows by id, then the feed, then
    the tallies.
    """
    drafts = _until_terminal(execution.status, drafts)
    if not drafts:
        return []
    changed = await _change(tx, execution, drafts, changes)
    if changed is None:
        return []
    last = await _bump(tx, execution, changed, len(drafts))
    rows = _place(execution, drafts, last - len(drafts))
    await tx.connection.execute(_INSERT, [row._asdict() for row in rows])
    deliveries = [Delivery(row, changed) for row in rows]
    tx.deliveries.extend(deliveries)
    return deliveries


async def bounds(connection: Connection, owner: str) -> Bounds:
    """What an owner's feed holds."""
    query = select(col(Feed.pruned_through), col(Feed.last_position)).where(col(Feed.owner_id) == owner)
    row = (await connection.execute(query)).one_or_none()
    return Bounds(0, 0) if row is None else Bounds(*row)


async def counts(
    connection: Connection,
    caller: Caller,
    execution_ids: Sequence[UUID],
    types: frozenset[EventType] | None,
) -> dict[UUID, int]:
    """How many events of some types are kept of each of several executions."""
    execution = col(ExecutionEvent.execution_id)
    query = select(execution, func.count()).where(visible(caller), one_of(execution, set(execution_ids)))
    rows = await connection.execute(query.where(*narrowing.of_types(types)).group_by(execution))
    found = {row[0]: row[1] for row in rows}
    return {id: found.get(id, 0) for id in execution_ids}


async def count_in_feed(connection: Connection, owner: str, chosen: ExecutionEventFilter) -> int:
    """How many events of a filter an owner's feed holds."""
    query = select(func.count()).select_from(ExecutionEvent).where(col(ExecutionEvent.owner_id) == owner)
    narrowed = _with_executions(query).where(*narrowing.of_events(chosen))
    return int((await connection.execute(narrowed)).scalar_one())


async def heads(connection: Connection, owners: Sequence[str]) -> dict[str, int]:
    """The last positions of several owners' feeds."""
    query = select(col(Feed.owner_id), col(Feed.last_position)).where(one_of(col(Feed.owner_id), owners))
    return {row.owner_id: row.last_position for row in await connection.execute(query)}


async def after(
    connection: Connection,
    owner: str,
    position: int,
    limit: int,
    execution_id: UUID | None = None,
    *,
    through: int | None = None,
    chosen: ExecutionEventFilter = EVERY_EVENT,
) -> list[Delivery]:
    """An owner's events behind a position and up to another, oldest first, as far as they are chosen.

    Of one execution where it is given. Raises CursorExpired where some of them are pruned.
    """
    place = col(ExecutionEvent.position)
    query = _with_executions(select(*COLUMNS, *executions.COLUMNS)).where(
        col(ExecutionEvent.owner_id) == owner, place > position, *narrowing.of_events(chosen)
    )
    if through is not None:
        query = query.where(place <= through)
    if execution_id is not None:
        query = query.where(col(ExecutionEvent.execution_id) == execution_id)
    rows = (await connection.execute(query.order_by(place).limit(limit))).all()
    # Asked last: what was pruned while the events were read shows.
    kept = await bounds(connection, owner)
    if position < kept.pruned_through:
        raise CursorExpired(kept.head)
    return [_delivery(row) for row in rows]


async def prune(tx: Transaction, owner: str, before: datetime, limit: int) -> int:
    """Delete an owner's oldest events recorded before an instant, a bounded number; how many they were."""
    oldest = (
        select(col(ExecutionEvent.position), col(ExecutionEvent.recorded_at))
        .where(col(ExecutionEvent.owner_id) == owner)
        .order_by(col(ExecutionEvent.position))
        .limit(limit)
    )
    expired = list(takewhile(lambda row: row.recorded_at < before, await tx.connection.execute(oldest)))
    if not expired:
        return 0
    through = expired[-1].position
    await tx.connection.execute(
        update(Feed)
        .where(col(Feed.owner_id) == owner)
        .values(pruned_through=func.greatest(col(Feed.pruned_through), through))
    )
    mine = (col(ExecutionEvent.owner_id) == owner) & (col(ExecutionEvent.position) <= through)
    await tx.connection.execute(delete(ExecutionEvent).where(mine))
    return len(expired)


async def owners_with_events_before(connection: Connection, before: datetime, limit: int) -> list[str]:
    """Owners who have events recorded before an instant."""
    first = (
        select(col(ExecutionEvent.recorded_at))
        .where(col(ExecutionEvent.owner_id) == col(Feed.owner_id))
        .order_by(col(ExecutionEvent.position))
        .limit(1)
        .scalar_subquery()
    )
    query = select(col(Feed.owner_id)).where(first < before).limit(limit)
    return list((await connection.execute(query)).scalars())


async def histories(
    connection: Connection,
    caller: Caller,
    execution_ids: Sequence[UUID],
    window: Window[int],
    types: frozenset[EventType] | None,
) -> dict[UUID, Page[EventRecord]]:
    """The same page of the events of each of several executions, by feed position, oldest first."""
    found = await _histories(connection, caller, execution_ids, window, types)
    return keyset.pages(execution_ids, found.of(EventRecord._make), "execution_id", window)


async def render_histories(
    connection: Connection,
    caller: Caller,
    execution_ids: Sequence[UUID],
    window: Window[int],
    types: frozenset[EventType] | None,
    *,
    fieldset: Fieldset,
) -> dict[UUID, Page[Rendered]]:
    """What is selected of the events on the same page of each of several executions, as in `histories`."""
    found = await _histories(connection, caller, execution_ids, window, types, fieldset=fieldset)
    return keyset.pages(execution_ids, found.of(rendered), "key", window)


async def _histories(
    connection: Connection,
    caller: Caller,
    execution_ids: Sequence[UUID],
    window: Window[int],
    types: frozenset[EventType] | None,
    *,
    fieldset: Fieldset | None = None,
) -> Result:
    ids = list(set(execution_ids))
    if types is None and window == Window(window.size, backward=window.backward):
        statement = _first_events(fieldset, of_all_owners=caller.is_admin, backward=window.backward)
        return await connection.execute(statement, {"owner": caller.owner, "ids": ids, "size": window.size})
    wanted = keyset.values(ids, Uuid())
    return await connection.execute(_windows(caller, wanted, window, types, fieldset))


@lru_cache(SHAPES)
def _first_events(fieldset: Fieldset | None, *, of_all_owners: bool, backward: bool) -> Prepared:
    """The statement for `size` events from one end of each of several executions, `ids`."""
    size: Any = bindparam("size", type_=Integer)
    ids = keyset.table(bindparam("ids", type_=ARRAY(Uuid())), Uuid())
    window: Window[int] = Window(size, backward=backward)
    return Prepared(_windows(keyset.somebody(of_all_owners=of_all_owners), ids, window, None, fieldset))


def _windows(
    caller: Caller,
    ids: FromClause,
    window: Window[int],
    types: frozenset[EventType] | None,
    fieldset: Fieldset | None,
) -> Rows:
    columns = COLUMNS if fieldset is None else _rendered(fieldset)
    events = select(*columns).where(visible(caller), *narrowing.of_types(types))
    return _BY_POSITION.window_of_each(events, ids, col(ExecutionEvent.execution_id), window)


def _rendered(fieldset: Fieldset) -> Sequence[Any]:
    json = json_of(_TABLE, _RENDERED, fieldset)
    return (json, col(ExecutionEvent.execution_id), col(ExecutionEvent.position))


async def get(connection: Connection, execution: ExecutionRecord, version: int) -> EventRecord | None:
    """The event that made an execution's version, if there is one."""
    query = select(*COLUMNS).where(
        col(ExecutionEvent.execution_id) == execution.id, col(ExecutionEvent.version) == version
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else EventRecord(*row)


async def first_position(connection: Connection, execution_id: UUID) -> int:
    """The feed position of an execution's first event that is kept."""
    query = select(func.min(col(ExecutionEvent.position))).where(
        col(ExecutionEvent.execution_id) == execution_id
    )
    return (await connection.execute(query)).scalar_one() or 0


async def last_position(connection: Connection, execution_id: UUID) -> int:
    """The feed position of an execution's last event."""
    query = select(func.max(col(ExecutionEvent.position))).where(
        col(ExecutionEvent.execution_id) == execution_id
    )
    return (await connection.execute(query)).scalar_one() or 0


def _with_executions(query: Rows) -> Rows:
    return query.join(Execution, col(Execution.id) == col(ExecutionEvent.execution_id))


def _until_terminal(status: ExecutionStatus, drafts: Sequence[Draft]) -> list[Draft]:
    kept: list[Draft] = []
    for draft in drafts:
        if status in TERMINAL:
            break
        kept.append(draft)
        status = draft.status or status
    return kept


async def _change(
    tx: Transaction, execution: ExecutionRecord, drafts: Sequence[Draft], changes: Mapping[str, Any]
) -> ExecutionRecord | None:
    """The execution after the drafts; None where it has ended meanwhile, which the row itself decides."""
    values: dict[str, Any] = dict(changes)
    for draft in drafts:
        values.update(draft.changes)
        if draft.status is not None:
            values["status"] = draft.status
    given = {"changed": execution.id, "events": len(drafts), **values}
    changed = (await tx.connection.execute(_CHANGE, given)).of(ExecutionRecord.of)
    return changed[0] if changed else None


async def _bump(tx: Transaction, before: ExecutionRecord, after: ExecutionRecord, count: int) -> int:
    """Take the next positions of the feed; its lock held, move the execution's tallies where it must."""
    move = tallies.move(before, after)
    statement = _BUMP if move is None else _BUMP_AND_MOVE
    taken = {"owner": after.owner_id, "taken": count, **(move or {})}
    last: int = (await tx.connection.execute(statement, taken)).scalar_one()
    return last


def _place(execution: ExecutionRecord, drafts: Sequence[Draft], before: int) -> list[EventRecord]:
    rows, status, now = [], execution.status, datetime.now(UTC)
    for offset, draft in enumerate(drafts, start=1):
        status = draft.status or status
        rows.append(
            EventRecord(
                owner_id=execution.owner_id,
                position=before + offset,
                execution_id=execution.id,
                version=execution.version + offset,
                type=draft.type,
                status=status,
                message=draft.message,
                timestamp=draft.timestamp,
                actor=draft.actor,
                details=draft.details,
                recorded_at=now,
            )
        )
    return rows


def _delivery(row: Any) -> Delivery:
    width = len(COLUMNS)
    return Delivery(EventRecord(*row[:width]), ExecutionRecord(*row[width:]))


def _bump_feed() -> ReturningInsert[tuple[int]]:
    taken = bindparam("taken", type_=BigInteger)
    first = upsert(Feed).values(owner_id=bindparam("owner"), last_position=taken)
    bump = first.on_conflict_do_update(
        index_elements=[col(Feed.owner_id)], set_={"last_position": col(Feed.last_position) + taken}
    )
    return bump.returning(col(Feed.last_position))


_BUMPED = _bump_feed().cte("bumped")
_BUMP = Prepared(_bump_feed())
_BUMP_AND_MOVE = Prepared(select(_BUMPED.c.last_position).add_cte(tallies.moved(_BUMPED)))
_INSERT = Prepared(insert(ExecutionEvent))
# Whatever other columns it is given, it changes with these.
_CHANGE = Prepared(
    update(Execution)
    .where(col(Execution.id) == bindparam("changed"), IS_OPEN)
    .values(version=col(Execution.version) + bindparam("events"), updated_at=func.now())
    .returning(*executions.COLUMNS)
)
