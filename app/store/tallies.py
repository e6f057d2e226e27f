"""Tallies of executions: kept by `events.append` in each event's transaction, so that no read counts."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Join,
    Select,
    SelectBase,
    Subquery,
    Table,
    cast,
    extract,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import col

from app.auth import Caller
from app.db import Connection
from app.filters import Period, StatsFilter
from app.statements import Prepared
from app.stats import BUCKET_GROWTH, FIRST_BUCKET_SECONDS, Counts, Stats, TimeBucket
from app.store import keyset, workflows
from app.store.membership import one_of
from app.tables import ALL_TIME, METADATA, ExecutionStatus, Workflow

Timeline = Mapping[datetime, Counts]

_TALLY, _DURATIONS = (METADATA.tables[name] for name in ("execution_tally", "duration_tally"))


def visible(caller: Caller, tallies: Table) -> ColumnElement[bool]:
    """The tallies of those executions that the caller may see."""
    return true() if caller.is_admin else tallies.c.owner_id == caller.owner


def moved(changed: CTE, locked: CTE, left: ColumnElement[Any] | None) -> CTE:
    """The part of a statement that moves a `changed` execution from the tally of one status to another's.

    It comes from that of the status that it has `left`; a new one from none.
    It begins when `locked` has yielded its row: the lock of the owner's feed is held.
    """
    sides = _sides(changed, left)
    source = locked.join(changed, true()).join(sides, true())
    return _added(_TALLY, changed, source, sides.c.status, _literal(0), sides.c.change).cte("moved")


def timed(changed: CTE, locked: CTE) -> CTE:
    """The part of a statement that counts how long a `changed` execution took that has completed.

    It begins when `locked` has yielded its row.
    """
    source = locked.join(changed, true())
    return _added(_DURATIONS, changed, source, _duration_bucket(changed), _literal(1)).cte("timed")


def _added(tallies: Table, changed: CTE, source: Join, *columns: ColumnElement[Any]) -> Insert:
    """The insert of a `changed` execution's tallies, one for each span and row of the source.

    The columns are the rest of the key and a count, which is added to the one that is there.
    """
    spans, key = _spans(changed), [*tallies.primary_key]
    rows = select(changed.c.owner_id, changed.c.workflow_id, spans.c.hour, *columns)
    rows = rows.select_from(source.join(spans, true()))
    insert = upsert(tallies).from_select([*key, tallies.c.count], rows)
    added = {"count": tallies.c.count + insert.excluded.count}
    return insert.on_conflict_do_update(index_elements=key, set_=added)


async def stats(
    connection: Connection, caller: Caller, chosen: StatsFilter, *, durations: bool = True
) -> Stats:
    """How many of the caller's executions have each status, and how long the completed ones took if asked."""
    if chosen == StatsFilter():
        statement = _everything(of_all_owners=caller.is_admin, durations=durations)
        return _stats((await connection.execute(statement, {"owner": caller.owner})).all())
    return _stats((await connection.execute(_counted(caller, chosen, durations=durations))).all())


@cache
def _everything(*, of_all_owners: bool, durations: bool) -> Prepared:
    """The statement for the stats of all executions, of any `owner`."""
    somebody = keyset.somebody(of_all_owners=of_all_owners)
    return Prepared(_counted(somebody, StatsFilter(), durations=durations))


async def stats_by_workflow(
    connection: Connection, caller: Caller, ids: Sequence[UUID], created: Period, *, durations: bool = True
) -> dict[UUID, Stats]:
    """The stats of each of several workflows; of one that the caller may not see, they are of nothing."""
    chosen = StatsFilter(frozenset(ids), created)
    query = _counted(caller, chosen, by_workflow=True, durations=durations)
    found = _by_workflow(await connection.execute(query))
    return {id: _stats(found[id]) for id in ids}


async def timeline(
    connection: Connection, caller: Caller, chosen: StatsFilter, bucket: TimeBucket
) -> Timeline:
    """How many of the caller's executions, created in each span of time, have each status.

    Spans in which none was created are left out.
    """
    query = _tallied(_TALLY, caller, chosen, _TALLY.c.status, _start(bucket), hourly=True)
    return _timeline((await connection.execute(query)).all())


async def timelines_by_workflow(
    connection: Connection, caller: Caller, ids: Sequence[UUID], created: Period, bucket: TimeBucket
) -> dict[UUID, Timeline]:
    """The timeline of each of several workflows; empty of one that the caller may not see."""
    chosen = StatsFilter(frozenset(ids), created)
    groups = [_TALLY.c.status, _start(bucket), _TALLY.c.workflow_id]
    query = _tallied(_TALLY, caller, chosen, *groups, hourly=True)
    found = _by_workflow(await connection.execute(query))
    return {id: _timeline(found[id]) for id in ids}


async def total(
    connection: Connection,
    caller: Caller,
    workflow_ids: frozenset[UUID] | None = None,
    statuses: frozenset[ExecutionStatus] | None = None,
) -> int:
    """How many executions the caller has, of these workflows and statuses where they are given."""
    counts = (await stats(connection, caller, StatsFilter(workflow_ids), durations=False)).counts
    return sum(count for status, count in counts.items() if statuses is None or status in statuses)


def _counted(
    caller: Caller, chosen: StatsFilter, *, by_workflow: bool = False, durations: bool
) -> SelectBase:
    """The counts of the chosen executions by status, and if asked those of the completed by duration bucket.

    The rows are (status or None, bucket or 0, workflow if `by_workflow`, count).
    """

    def counts(tallies: Table, status: ColumnElement[Any], bucket: ColumnElement[Any]) -> Select[Any]:
        groups = [status, bucket, tallies.c.workflow_id] if by_workflow else [status, bucket]
        return _tallied(tallies, caller, chosen, *groups)

    # Whoever has not been replaced since migration 0005 still tells statuses apart by bucket, too.
    by_status = counts(_TALLY, _TALLY.c.status, _TALLY.c.duration_bucket)
    if not durations:
        return by_status
    return union_all(by_status, counts(_DURATIONS, cast(null(), _TALLY.c.status.type), _DURATIONS.c.bucket))


def _tallied(
    tallies: Table, caller: Caller, chosen: StatsFilter, *groups: ColumnElement[Any], hourly: bool = False
) -> Select[Any]:
    """The sums of the chosen tallies by group, each the last item of its row."""
    query = select(*groups, cast(func.sum(tallies.c.count), BigInteger)).group_by(*groups)
    query = query.where(visible(caller, tallies), *_hours(tallies, chosen.created, hourly=hourly))
    if chosen.workflow_ids is None:
        return query
    # Through the workflow's row to its owner, with whom the key of the tallies begins.
    of_workflow = (col(Workflow.owner_id) == tallies.c.owner_id) & (col(Workflow.id) == tallies.c.workflow_id)
    wanted = one_of(col(Workflow.id), chosen.workflow_ids)
    return query.join(Workflow, of_workflow).where(workflows.visible(caller), wanted)


def _hours(tallies: Table, created: Period, *, hourly: bool) -> Iterator[ColumnElement[bool]]:
    """The hours of which some part lies in the period, or else all time."""
    hour = tallies.c.hour
    if created == Period() and not hourly:
        yield hour == ALL_TIME
        return
    yield hour > ALL_TIME
    if created.start is not None:
        yield hour >= TimeBucket.HOUR.start(created.start)
    if created.end is not None:
        yield hour < created.end


def _start(bucket: TimeBucket) -> ColumnElement[Any]:
    return func.date_trunc(_literal(bucket.lower()), _TALLY.c.hour, _literal("UTC"), type_=_TALLY.c.hour.type)


def _literal(value: str | float) -> ColumnElement[Any]:
    """A constant of ours, part of the statement: Postgres groups by it and computes with it exactly."""
    return literal_column(repr(value))


def _stats(rows: Iterable[Any]) -> Stats:
    """The stats in rows that `_counted` finds."""
    counts, durations = dict.fromkeys(ExecutionStatus, 0), defaultdict[int, int](int)
    for status, bucket, *_, count in rows:
        if status is not None:
            counts[status] += count
        if bucket:
            durations[bucket] += count
    return Stats(counts, dict(durations))


def _timeline(rows: Sequence[Any]) -> Timeline:
    """The timeline in rows of (status, start, ..., count)."""
    found: dict[datetime, dict[ExecutionStatus, int]] = {}
    for status, start, *_, count in rows:
        found.setdefault(start, dict.fromkeys(ExecutionStatus, 0))[status] = count
    return found


def _by_workflow(rows: Iterable[Any]) -> dict[UUID, list[Any]]:
    found: dict[UUID, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.workflow_id].append(row)
    return found


def _spans(changed: CTE) -> Subquery:
    """An execution counts in its hour and in all time."""
    hour = func.date_trunc(_literal("hour"), changed.c.created_at, _literal("UTC"), type_=_TALLY.c.hour.type)
    ever = literal(ALL_TIME, _TALLY.c.hour.type)
    return union_all(select(hour.label("hour")).select_from(changed), select(ever)).subquery("spans")


def _sides(changed: CTE, left: ColumnElement[Any] | None) -> Subquery:
    """What an execution enters, and what it leaves unless it is new."""
    entered = select(changed.c.status, _literal(1).label("change"))
    if left is None:
        return entered.subquery("sides")
    return union_all(entered, select(left, _literal(-1))).subquery("sides")


def _duration_bucket(changed: CTE) -> ColumnElement[int]:
    """The bucket that `stats.seconds` stands for; migration 0002 counted by the same formula."""
    end, start = changed.c.completed_at, changed.c.started_at
    millisecond = _literal(FIRST_BUCKET_SECONDS)
    long = func.greatest(extract("epoch", end - func.coalesce(start, end)), millisecond)
    place = func.floor(func.ln(long / millisecond) / func.ln(_literal(BUCKET_GROWTH)))
    return cast(1 + func.coalesce(place, 0), _DURATIONS.c.bucket.type)
