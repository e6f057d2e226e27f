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
    Select,
    Subquery,
    case,
    cast,
    extract,
    func,
    literal,
    literal_column,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import col

from app.auth import Caller
from app.db import Connection
from app.filters import Period, StatsFilter
from app.statements import Prepared
from app.stats import BUCKET_GROWTH, FIRST_BUCKET_SECONDS, Counts, Stats, TimeBucket
from app.store import keyset, workflows
from app.store.membership import one_of
from app.tables import ALL_TIME, METADATA, ExecutionStatus, ExecutionTally, Workflow

Timeline = Mapping[datetime, Counts]

_TALLY = METADATA.tables["execution_tally"].c
_KEY = [_TALLY.owner_id, _TALLY.workflow_id, _TALLY.hour, _TALLY.status, _TALLY.duration_bucket]


def visible(caller: Caller) -> ColumnElement[bool]:
    """The tallies of those executions that the caller may see."""
    return true() if caller.is_admin else _TALLY.owner_id == caller.owner


def moved(changed: CTE, locked: CTE, left: ColumnElement[Any] | None) -> CTE:
    """The part of a statement that moves a `changed` execution from its tallies to others.

    It comes from those of the status that it has `left`, which is never that of an end; a new one from none.
    It begins when `locked` has yielded its row: the lock of the owner's feed is held.
    """
    spans, sides = _spans(changed), _sides(changed, left)
    rows = select(
        changed.c.owner_id,
        changed.c.workflow_id,
        spans.c.hour,
        sides.c.status,
        sides.c.duration_bucket,
        sides.c.change,
    ).select_from(locked.join(changed, true()).join(spans, true()).join(sides, true()))
    insert = upsert(ExecutionTally).from_select([*_KEY, _TALLY.count], rows)
    added = {"count": _TALLY.count + insert.excluded.count}
    return insert.on_conflict_do_update(index_elements=_KEY, set_=added).cte("moved")


async def stats(
    connection: Connection, caller: Caller, chosen: StatsFilter, *, durations: bool = True
) -> Stats:
    """How many of the caller's executions have each status, and how long the completed ones took if asked."""
    if chosen == StatsFilter():
        statement = _everything(of_all_owners=caller.is_admin, durations=durations)
        rows = (await connection.execute(statement, {"owner": caller.owner})).all()
    else:
        rows = (await connection.execute(_tallied(caller, chosen, *_groups(durations=durations)))).all()
    return _stats(rows) if durations else Stats(_counts(rows), {})


def _groups(*, durations: bool) -> tuple[Any, ...]:
    return (_TALLY.status, _TALLY.duration_bucket) if durations else (_TALLY.status,)


@cache
def _everything(*, of_all_owners: bool, durations: bool) -> Prepared:
    """The statement for the stats of all executions, of any `owner`."""
    somebody = keyset.somebody(of_all_owners=of_all_owners)
    return Prepared(_tallied(somebody, StatsFilter(), *_groups(durations=durations)))


async def stats_by_workflow(
    connection: Connection, caller: Caller, ids: Sequence[UUID], created: Period
) -> dict[UUID, Stats]:
    """The stats of each of several workflows; of one that the caller may not see, they are of nothing."""
    chosen = StatsFilter(frozenset(ids), created)
    query = _tallied(caller, chosen, _TALLY.status, _TALLY.duration_bucket, _TALLY.workflow_id)
    found = _by_workflow(await connection.execute(query))
    return {id: _stats(found[id]) for id in ids}


async def timeline(
    connection: Connection, caller: Caller, chosen: StatsFilter, bucket: TimeBucket
) -> Timeline:
    """How many of the caller's executions, created in each span of time, have each status.

    Spans in which none was created are left out.
    """
    query = _tallied(caller, chosen, _TALLY.status, _start(bucket), hourly=True)
    return _timeline((await connection.execute(query)).all())


async def timelines_by_workflow(
    connection: Connection, caller: Caller, ids: Sequence[UUID], created: Period, bucket: TimeBucket
) -> dict[UUID, Timeline]:
    """The timeline of each of several workflows; empty of one that the caller may not see."""
    chosen = StatsFilter(frozenset(ids), created)
    query = _tallied(caller, chosen, _TALLY.status, _start(bucket), _TALLY.workflow_id, hourly=True)
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


def _tallied(caller: Caller, chosen: StatsFilter, *groups: Any, hourly: bool = False) -> Select[Any]:
    """The sums of the chosen tallies by group, each the last item of its row."""
    query = select(*groups, cast(func.sum(_TALLY.count), BigInteger)).group_by(*groups)
    query = query.where(visible(caller), *_hours(chosen.created, hourly=hourly))
    if chosen.workflow_ids is None:
        return query
    # Through the workflow's row to its owner, with whom the key of the tallies begins.
    of_workflow = (col(Workflow.owner_id) == _TALLY.owner_id) & (col(Workflow.id) == _TALLY.workflow_id)
    wanted = one_of(col(Workflow.id), chosen.workflow_ids)
    return query.join(Workflow, of_workflow).where(workflows.visible(caller), wanted)


def _hours(created: Period, *, hourly: bool) -> Iterator[ColumnElement[bool]]:
    """The hours of which some part lies in the period, or else all time."""
    hour = _TALLY.hour
    if created == Period() and not hourly:
        yield hour == ALL_TIME
        return
    yield hour > ALL_TIME
    if created.start is not None:
        yield hour >= TimeBucket.HOUR.start(created.start)
    if created.end is not None:
        yield hour < created.end


def _start(bucket: TimeBucket) -> ColumnElement[Any]:
    return func.date_trunc(_literal(bucket.lower()), _TALLY.hour, _literal("UTC"), type_=_TALLY.hour.type)


def _literal(value: str | float) -> ColumnElement[Any]:
    """A constant of ours, part of the statement: Postgres groups by it and computes with it exactly."""
    return literal_column(repr(value))


def _stats(rows: Sequence[Any]) -> Stats:
    """The stats in rows of (status, duration bucket, ..., count)."""
    completed = (row for row in rows if row[0] is ExecutionStatus.COMPLETED)
    return Stats(_counts(rows), {bucket: count for _, bucket, *_, count in completed})


def _counts(rows: Iterable[Any]) -> Counts:
    """How many have each status, in rows of (status, ..., count)."""
    counts = dict.fromkeys(ExecutionStatus, 0)
    for status, *_, count in rows:
        counts[status] += count
    return counts


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
    hour = func.date_trunc(_literal("hour"), changed.c.created_at, _literal("UTC"), type_=_TALLY.hour.type)
    ever = literal(ALL_TIME, _TALLY.hour.type)
    return union_all(select(hour.label("hour")).select_from(changed), select(ever)).subquery("spans")


def _sides(changed: CTE, left: ColumnElement[Any] | None) -> Subquery:
    """What an execution enters, and what it leaves unless it is new."""
    bucket = _duration_bucket(changed).label("duration_bucket")
    entered = select(changed.c.status, bucket, _literal(1).label("change"))
    if left is None:
        return entered.subquery("sides")
    return union_all(entered, select(left, _literal(0), _literal(-1))).subquery("sides")


def _duration_bucket(changed: CTE) -> ColumnElement[int]:
    """The bucket that `stats.seconds` stands for; migration 0002 counted by the same formula."""
    end, start = changed.c.completed_at, changed.c.started_at
    millisecond = _literal(FIRST_BUCKET_SECONDS)
    long = func.greatest(extract("epoch", end - func.coalesce(start, end)), millisecond)
    place = func.floor(func.ln(long / millisecond) / func.ln(_literal(BUCKET_GROWTH)))
    completed = changed.c.status == ExecutionStatus.COMPLETED
    return cast(case((completed, 1 + func.coalesce(place, 0)), else_=0), _TALLY.duration_bucket.type)
