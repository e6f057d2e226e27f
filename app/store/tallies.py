"""Tallies of executions: kept by `events.append` in each event's transaction, so that no read counts."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Select,
    bindparam,
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
from app.records import ExecutionRecord
from app.stats import BUCKET_GROWTH, FIRST_BUCKET_SECONDS, Counts, Stats, TimeBucket
from app.store import workflows
from app.store.membership import one_of
from app.tables import ALL_TIME, METADATA, ExecutionStatus, ExecutionTally, Workflow

Timeline = Mapping[datetime, Counts]

_TALLY = METADATA.tables["execution_tally"].c
_KEY = [_TALLY.owner_id, _TALLY.workflow_id, _TALLY.hour, _TALLY.status, _TALLY.duration_bucket]

_ENTERED, _LEFT = (cast(bindparam(name), _TALLY.status.type) for name in ("entered", "left"))


def visible(caller: Caller) -> ColumnElement[bool]:
    """The tallies of those executions that the caller may see."""
    return true() if caller.is_admin else _TALLY.owner_id == caller.owner


def move(before: ExecutionRecord, after: ExecutionRecord) -> dict[str, Any] | None:
    """What `moved` is given for a change of an execution; None where no tally changes.

    An execution at version 0 is new: it comes from no tally. It never leaves the tallies of an end.
    """
    left = None if before.version == 0 else before.status
    if left is after.status:
        return None
    return {
        "owner": after.owner_id,
        "workflow": after.workflow_id,
        "hour": TimeBucket.HOUR.start(after.created_at),
        "left": left,
        "entered": after.status,
        "started_at": after.started_at,
        "completed_at": after.completed_at,
    }


def moved(locked: CTE) -> CTE:
    """The part of a statement that moves an execution from its tallies to others.

    It begins when `locked` has yielded its row: the lock of the owner's feed is held.
    """
    rows = select(
        bindparam("owner", type_=_TALLY.owner_id.type),
        bindparam("workflow", type_=_TALLY.workflow_id.type),
        _SPANS.c.hour,
        _SIDES.c.status,
        _SIDES.c.duration_bucket,
        _SIDES.c.change,
    ).select_from(locked.join(_SPANS, true()).join(_SIDES, true()))
    insert = upsert(ExecutionTally).from_select([*_KEY, _TALLY.count], rows)
    added = {"count": _TALLY.count + insert.excluded.count}
    return insert.on_conflict_do_update(index_elements=_KEY, set_=added).cte("moved")


async def stats(connection: Connection, caller: Caller, chosen: StatsFilter) -> Stats:
    """How many of the caller's executions have each status, and how long the completed ones took."""
    query = _tallied(caller, chosen, _TALLY.status, _TALLY.duration_bucket)
    return _stats((await connection.execute(query)).all())


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
    counts = (await stats(connection, caller, StatsFilter(workflow_ids))).counts
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
    counts, durations = dict.fromkeys(ExecutionStatus, 0), dict[int, int]()
    for status, bucket, *_, count in rows:
        counts[status] += count
        if status is ExecutionStatus.COMPLETED:
            durations[bucket] = count
    return Stats(counts, durations)


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


def _duration_bucket() -> ColumnElement[int]:
    """The bucket that `stats.seconds` stands for; migration 0002 counted by the same formula."""
    end, start = (bindparam(name, type_=_TALLY.hour.type) for name in ("completed_at", "started_at"))
    millisecond = _literal(FIRST_BUCKET_SECONDS)
    long = func.greatest(extract("epoch", end - func.coalesce(start, end)), millisecond)
    place = func.floor(func.ln(long / millisecond) / func.ln(_literal(BUCKET_GROWTH)))
    bucket = case({ExecutionStatus.COMPLETED: 1 + func.coalesce(place, 0)}, value=_ENTERED, else_=0)
    return cast(bucket, _TALLY.duration_bucket.type)


# An execution counts in its hour and in all time; it leaves a status, unless it is new, and enters another.
_SPANS = union_all(
    select(bindparam("hour", type_=_TALLY.hour.type).label("hour")),
    select(literal(ALL_TIME, _TALLY.hour.type)),
).subquery("spans")
_SIDES = union_all(
    select(_ENTERED.label("status"), _duration_bucket().label("duration_bucket"), literal(1).label("change")),
    select(_LEFT, literal(0), literal(-1)).where(_LEFT.is_not(None)),
).subquery("sides")
