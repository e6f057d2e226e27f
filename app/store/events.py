"""The event log: appended in the transaction that changes the execution, read by position."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import takewhile
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    BindParameter,
    ColumnElement,
    FromClause,
    Insert,
    Integer,
    Text,
    Update,
    Uuid,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy import DateTime as Timestamp
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import col

from app.auth import Caller
from app.db import Connection, Transaction
from app.deliveries import Delivery
from app.errors import CursorExpired
from app.filters import EVERY_EVENT, ExecutionEventFilter
from app.paging import Page, Window
from app.records import Draft, EventRecord, ExecutionRecord, Startable
from app.rendering import Fieldset, Rendered
from app.statements import Prepared
from app.statements import Rows as Result
from app.store import executions, keyset, narrowing, tallies, workflows
from app.store.keyset import Order, Rows
from app.store.membership import IS_OPEN, one_of
from app.store.rendering import EVENT, FIELDSETS, rendered
from app.tables import EventType, Execution, ExecutionEvent, ExecutionStatus, Feed, Workflow
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


_BY_POSITION = Order(col(ExecutionEvent.position), descending=False)


class WorkflowChanged(Exception):
    """What is known of a workflow is out of date."""


@dataclass(frozen=True)
class Bounds:
    """A feed holds the positions above `pruned_through`, up to `head`; both are 0 before the first event."""

    pruned_through: int
    head: int


def visible(caller: Caller) -> ColumnElement[bool]:
    """The events that the caller may see."""
    return true() if caller.is_admin else col(ExecutionEvent.owner_id) == caller.owner


async def create(
    tx: Transaction, values: Mapping[str, Any], draft: Draft, *, known: Startable | None = None
) -> Delivery:
    """Insert an execution with its first event; `values` are its columns.

    Raises WorkflowChanged where its workflow is not any more what was `known` of it.
    """
    given = {**_NEW, **values}
    statement = _created(tuple(given), is_known=known is not None)
    seen = {} if known is None else {"known_version": known.row_version}
    deliveries = await _record(tx, statement, {**given, **seen}, given["status"], [draft])
    if not deliveries:
        raise WorkflowChanged
    return deliveries[0]


async def append(
    tx: Transaction, execution: ExecutionRecord, drafts: Sequence[Draft], **changes: Any
) -> list[Delivery]:
    """Append events to an execution and change it with them; one that has ended takes none.

    Nor does one that has changed since it was read, as a locked one has not. `changes` are further columns of
    the execution. Lock order: execution rows by id, then the feed, then the tallies.
    """
    drafts = _until_terminal(execution.status, drafts)
    if not drafts:
        return []
    values = _values(drafts, changes)
    status = values.get("status", execution.status)
    moves, completes = status is not execution.status, status is ExecutionStatus.COMPLETED
    given = {"changed": execution.id, "known": execution.version, **values}
    if moves:
        given["left"] = execution.status
    statement = _appended(tuple(values), moves=moves, completes=completes, several=len(drafts) > 1)
    return await _record(tx, statement, given, execution.status, drafts)


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


@lru_cache(FIELDSETS)
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
    return (EVENT.text(fieldset), col(ExecutionEvent.execution_id), col(ExecutionEvent.position))


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


def _values(drafts: Sequence[Draft], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of the execution that change with the drafts."""
    values = dict(changes)
    for draft in drafts:
        values.update(draft.changes)
        if draft.status is not None:
            values["status"] = draft.status
    return values


async def _record(
    tx: Transaction,
    statement: Prepared,
    values: Mapping[str, Any],
    status: ExecutionStatus,
    drafts: Sequence[Draft],
) -> list[Delivery]:
    """Have a statement append the drafts to an execution that has the status; nothing where it finds none."""
    entries = _entries(status, drafts)
    given = entries if len(drafts) > 1 else {name: each[0] for name, each in entries.items()}
    now = datetime.now(UTC)
    found = await tx.connection.execute(
        statement, {**values, **given, "recorded_at": now, "appended": len(drafts)}
    )
    for *columns, position in found.of(list):
        tx.deliveries.extend(_placed(ExecutionRecord(*columns), position, drafts, entries["statuses"], now))
    return tx.deliveries[-len(drafts) :] if found.records else []


def _entries(status: ExecutionStatus, drafts: Sequence[Draft]) -> Mapping[str, Sequence[Any]]:
    """What is told of an execution that has the status, in the columns of its events."""
    statuses = [status := draft.status or status for draft in drafts]
    return {
        "types": [draft.type for draft in drafts],
        "statuses": statuses,
        "messages": [draft.message for draft in drafts],
        "timestamps": [draft.timestamp for draft in drafts],
        "actors": [draft.actor for draft in drafts],
        "details": [draft.details for draft in drafts],
    }


def _placed(
    execution: ExecutionRecord,
    position: int,
    drafts: Sequence[Draft],
    statuses: Sequence[ExecutionStatus],
    recorded_at: datetime,
) -> Iterator[Delivery]:
    """The events as they are in the log, the last of them at a position; the execution is as after them."""
    for offset, (draft, status) in enumerate(zip(drafts, statuses, strict=True), 1 - len(drafts)):
        event = EventRecord(
            owner_id=execution.owner_id,
            position=position + offset,
            execution_id=execution.id,
            version=execution.version + offset,
            type=draft.type,
            status=status,
            message=draft.message,
            timestamp=draft.timestamp,
            actor=draft.actor,
            details=draft.details,
            recorded_at=recorded_at,
        )
        yield Delivery(event, execution)


def _delivery(row: Any) -> Delivery:
    width = len(COLUMNS)
    return Delivery(EventRecord(*row[:width]), ExecutionRecord(*row[width:]))


@cache
def _created(columns: tuple[str, ...], *, is_known: bool) -> Prepared:
    """The statement that inserts an execution, of which these columns are given, with its first event.

    Where its workflow `is_known` it is inserted only while that is so.
    """
    values = select(*(bindparam(name, type_=_of(name).type) for name in columns))
    values = values.where(col(Workflow.id) == bindparam("workflow_id"))
    if is_known:
        values = values.where(bindparam("known_version") == workflows.ROW_VERSION)
    return _logged(insert(Execution).from_select(columns, values), moves=True)


def _of(name: str) -> Any:
    """The column of an execution."""
    return col(getattr(Execution, name))


@cache
def _appended(columns: tuple[str, ...], *, moves: bool, completes: bool, several: bool) -> Prepared:
    """The statement that appends an event or several to an execution, with which these of its columns change.

    Where it `moves`, it goes from the tally of one status to that of another; where it `completes`, its
    duration is tallied.
    """
    given: dict[str, Any] = {name: bindparam(name) for name in columns}
    version = col(Execution.version)
    change = (
        update(Execution)
        .where(col(Execution.id) == bindparam("changed"), version == bindparam("known"), IS_OPEN)
        .values({**given, "version": version + _APPENDED, "updated_at": func.now()})
    )
    left = bindparam("left", type_=Text)
    return _logged(change, moves=moves, completes=completes, several=several, left=left)


def _logged(
    change: Insert | Update,
    *,
    moves: bool,
    completes: bool = False,
    several: bool = False,
    left: ColumnElement[Any] | None = None,
) -> Prepared:
    """A statement that changes an execution, and appends to the log what is told of that.

    Each part waits for the row of the one before: so the locks are taken in their order.
    """
    changed = change.returning(*executions.COLUMNS).cte("changed")
    bumped = _bumped(changed)
    parts = [_inserted(changed, bumped, several=several)]
    if moves:
        parts.append(tallies.moved(changed, bumped, left))
    if completes:
        parts.append(tallies.timed(changed, bumped))
    last = select(changed, bumped.c.last_position).select_from(bumped.join(changed, true()))
    return Prepared(last.add_cte(*parts))


def _bumped(changed: CTE) -> CTE:
    """The part that takes the next positions of the feed of the changed execution's owner."""
    first = upsert(Feed).from_select(["owner_id", "last_position"], select(changed.c.owner_id, _APPENDED))
    position = col(Feed.last_position)
    bump = first.on_conflict_do_update(
        index_elements=[col(Feed.owner_id)], set_={"last_position": position + first.excluded.last_position}
    )
    return bump.returning(position).cte("bumped")


def _inserted(changed: CTE, bumped: CTE, *, several: bool) -> CTE:
    """The part that inserts the events: of several each column comes as an array, which takes longer."""
    source = bumped.join(changed, true())
    if several:
        arrays = [bindparam(given, type_=ARRAY(of)) for given, of in _ENTRIES.values()]
        entries = func.unnest(*arrays).table_valued(*_ENTRIES, with_ordinality="place").render_derived()
        source, before = source.join(entries, true()), entries.c.place - _APPENDED
        values = [entries.c[name] for name in _ENTRIES]
    else:
        before = literal_column("0", Integer)
        values = [bindparam(given, type_=of) for given, of in _ENTRIES.values()]
    rows = select(
        changed.c.owner_id,
        bumped.c.last_position + before,
        changed.c.id,
        changed.c.version + before,
        *values,
        bindparam("recorded_at", type_=Timestamp(timezone=True)),
    ).select_from(source)
    columns = ["owner_id", "position", "execution_id", "version", *_ENTRIES, "recorded_at"]
    return insert(ExecutionEvent).from_select(columns, rows).cte("inserted")


# The columns of a new execution that its table has no default for.
_NEW = {"version": 1, "next_history_event": 1, "start_unsettled": True}
_APPENDED: BindParameter[int] = bindparam("appended", type_=Integer)
# The columns of events that differ between those of one statement, and the names of what it is given.
_ENTRIES: Mapping[str, tuple[str, Any]] = {
    "type": ("types", Text),
    "status": ("statuses", Text),
    "message": ("messages", Text),
    "timestamp": ("timestamps", Timestamp(timezone=True)),
    "actor": ("actors", Text),
    "details": ("details", JSONB),
}
