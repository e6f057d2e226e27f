"""Tallies are what a count of the executions would find, whatever happened and whoever raced."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from random import Random, uniform
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app import recorder
from app.auth import Caller
from app.db import Connection, Database
from app.filters import Period, StatsFilter
from app.history import Step
from app.records import Draft, WorkflowRecord
from app.stats import BUCKET_GROWTH, FIRST_BUCKET_SECONDS, Stats, TimeBucket
from app.store import events, executions, tallies, tracking
from app.store.tallies import Timeline
from app.tables import EventType, ExecutionStatus
from tests.eventually import eventually
from tests.store.ownership import doors, without_caller
from tests.store.rows import ALICE, BOB, COMPLETED, FAILED, NOW, ROOT, STARTED, Rows, completed, draft, run_of
from tests.store.statements import recorded, waiting

PENDING, RUNNING, PAUSED, ENDED, BROKEN, CANCELLED = ExecutionStatus
COUNT_ALL = import_module("migrations.versions.0002_lists_and_tallies").COUNT_ALL
PART = import_module("migrations.versions.0005_duration_tallies").PART
TALLIES = """
    SELECT owner_id, workflow_id, hour, status, duration_bucket, count FROM execution_tally WHERE count <> 0
    UNION ALL
    SELECT owner_id, workflow_id, hour, 'duration', bucket, count FROM duration_tally
"""
PAUSE, RESUME = draft(EventType.EXECUTION_PAUSED, PAUSED), draft(EventType.EXECUTION_RESUMED, RUNNING)
CANCEL = draft(EventType.EXECUTION_CANCELLED, CANCELLED, completed_at=NOW)
EVERY = StatsFilter()


async def kept(db: Database) -> Counter[Any]:
    """The tallies as they are."""
    async with db.read() as connection:
        found = await connection.execute(text(TALLIES))
        return Counter({tuple(key): count for *key, count in found})


async def recounted(db: Database) -> Counter[Any]:
    """The tallies as the migrations would count them from the executions."""
    async with db.write() as tx:
        for statement in ("DELETE FROM execution_tally", "DELETE FROM duration_tally", COUNT_ALL, PART):
            await tx.connection.execute(text(statement))
    return await kept(db)


async def by_status(rows: Rows, chosen: StatsFilter) -> dict[ExecutionStatus, int]:
    """The counts that are not 0."""
    async with rows.db.read() as connection:
        found = await tallies.stats(connection, ALICE, chosen)
    assert list(found.counts) == list(ExecutionStatus)
    assert found.total == sum(found.counts.values())
    return {status: count for status, count in found.counts.items() if count}


class Undone(Exception):
    """Undoes a transaction of the test's."""


@dataclass
class Crowd:
    """Random changes of a few executions, any number at a time."""

    rows: Rows
    workflows: list[WorkflowRecord]
    random: Random

    def __post_init__(self) -> None:
        self.ids: list[UUID] = []

    async def change(self) -> None:
        """One change of some kind; refusals and undone transactions are part of it."""
        changes = [self._append, self._append, self._undo, self._two, self._stale, self._record]
        few = len(self.ids) < 3 or self.random.random() < 0.2
        await (self._create if few else self.random.choice(changes))()

    async def _create(self) -> None:
        workflow = self.random.choice(self.workflows)
        moment = NOW - timedelta(minutes=self.random.randrange(200))
        make = self.rows.pending if self.random.random() < 0.5 else self.rows.running
        self.ids.append((await make(workflow, created_at=moment)).id)

    async def _append(self) -> None:
        await self.rows.append(self.random.choice(self.ids), *self._drafts())

    async def _undo(self) -> None:
        with suppress(Undone):
            async with self.rows.db.write() as tx:
                found = await executions.lock(tx, ROOT, self.random.choice(self.ids))
                await events.append(tx, found, self._drafts())
                raise Undone

    async def _two(self) -> None:
        """Two executions in one transaction: both rows locked, by id, before any feed."""
        ids = sorted(self.random.sample(self.ids, 2))
        async with self.rows.db.write() as tx:
            found = [await executions.lock(tx, ROOT, id) for id in ids]
            for each in sorted(found, key=lambda execution: execution.owner_id):
                await events.append(tx, each, self._drafts())

    async def _stale(self) -> None:
        """An append to what is not locked: refused where somebody was quicker."""
        found = await self.rows.execution(self.random.choice(self.ids))
        await asyncio.sleep(0)
        async with self.rows.db.write_once() as tx:
            await events.append(tx, found, self._drafts())

    async def _record(self) -> None:
        """Two trackers read the same end of the same run."""
        found = await self.rows.execution(self.random.choice(self.ids))
        if found.temporal_run_id is not None:
            async with self.rows.db.write() as tx:
                first = (await tracking.lock(tx, found.id)).next_history_event
            steps = [Step(first + place, each) for place, each in enumerate(self._drafts())]
            await asyncio.gather(*(recorder.record(self.rows.db, run_of(found), steps) for _ in range(2)))

    def _drafts(self) -> list[Draft]:
        some = [draft(), STARTED, PAUSE, RESUME, completed(self.random.expovariate(0.1)), FAILED, CANCEL]
        return self.random.choices(some, weights=[4, 4, 4, 4, 2, 1, 1], k=self.random.randint(1, 4))


@pytest.mark.parametrize("seed", range(4))
async def test_tallies_equal_a_recount_whatever_happened(rows: Rows, seed: int) -> None:
    workflows = [await rows.workflow(owner) for owner in ("alice", "alice", "bob")]
    crowd = Crowd(rows, workflows, Random(seed))

    for _ in range(6):
        await asyncio.gather(*(crowd.change() for _ in range(12)))

    found = await kept(rows.db)
    assert found == await recounted(rows.db)
    ended = sum(count for (*_, status, _), count in found.items() if status == ENDED)
    assert ended == sum(count for (*_, kind, _), count in found.items() if kind == "duration")
    assert sum(found.values()) == 2 * len(crowd.ids) + ended
    happened = {event.status for owner in ("alice", "bob") for event in await rows.feed(owner)}
    assert len(happened) > 3, "too little"
    assert min(found.values()) > 0


async def test_every_hour_counts_in_all_time(rows: Rows) -> None:
    workflow = await rows.workflow()
    await rows.pending(workflow, created_at=NOW)
    ended = await rows.running(workflow, created_at=NOW)
    await rows.append(ended.id, completed(0.5))

    bucket = next(key[-1] for key in await kept(rows.db) if key[-1])
    hour, ever = datetime.fromisoformat("2026-01-08T12:00Z"), datetime.fromisoformat("1970-01-01T00:00Z")
    assert await kept(rows.db) == Counter(
        ("alice", workflow.id, start, *rest)
        for start in (hour, ever)
        for rest in (("PENDING", 0), ("COMPLETED", 0), ("duration", bucket))
    )


async def test_an_append_that_changes_no_status_leaves_the_tallies_alone(rows: Rows) -> None:
    execution = await rows.running()

    async with rows.db.write() as tx:
        with recorded(rows.db) as said:
            await events.append(tx, execution, [draft(), PAUSE, draft(), RESUME, draft()])

    assert ["execution_tally" in statement.text for statement in said] == [False]


async def test_a_change_of_status_costs_no_further_statement(rows: Rows) -> None:
    execution = await rows.pending()

    async with rows.db.write() as tx:
        with recorded(rows.db) as said:
            await events.append(tx, execution, [STARTED])

    assert ["execution_tally" in statement.text for statement in said] == [True]


async def test_more_executions_are_no_more_rows_to_read(rows: Rows) -> None:
    workflow = await rows.workflow()

    async def execute(count: int) -> int:
        """How many rows there are after so many executions more."""
        for _ in range(count):
            ended = await rows.running(workflow)
            await rows.append(ended.id, PAUSE, RESUME, completed(uniform(0.001, 100)))
        async with rows.db.read() as connection:
            found = await connection.execute(text("SELECT count(*) FROM execution_tally"))
            return int(found.scalar_one())

    # PENDING, RUNNING and COMPLETED, in its hour and in all time.
    assert [await execute(count) for count in (1, 3, 30)] == [6, 6, 6]


async def test_tallies_wait_for_the_feeds_lock(rows: Rows) -> None:
    """The lock order: whoever waits for the feed holds the execution, and no tally yet."""
    execution, other = await rows.running(), await rows.running()

    async def free(query: str, **parameters: Any) -> int:
        async with rows.db.write() as tx:
            return len(
                (await tx.connection.execute(text(f"{query} FOR UPDATE SKIP LOCKED"), parameters)).all()
            )

    async with rows.db.write() as tx:
        await events.append(tx, other, [draft()])
        late = asyncio.create_task(rows.append(execution.id, COMPLETED))
        await eventually(lambda: waiting(rows.db))
        held = await free("SELECT 1 FROM execution WHERE id = :id", id=execution.id)
        unheld = await free("SELECT 1 FROM execution_tally")

    assert (held, unheld) == (0, 8)
    assert len(await late) == 1


Ask = Callable[[Connection, Caller, UUID], Awaitable[Any]]
SHOWN: dict[str, tuple[Ask, Any, Any]] = {
    "stats": (lambda c, who, _: tallies.stats(c, who, EVERY), 1, 0),
    "stats_by_workflow": (lambda c, who, key: tallies.stats_by_workflow(c, who, [key], Period()), 1, 0),
    "timeline": (lambda c, who, _: tallies.timeline(c, who, EVERY, TimeBucket.HOUR), 1, 0),
    "timelines_by_workflow": (
        lambda c, who, key: tallies.timelines_by_workflow(c, who, [key], Period(), TimeBucket.DAY),
        1,
        0,
    ),
    "total": (lambda c, who, key: tallies.total(c, who, frozenset({key})), 1, 0),
}


def counted(answer: Any) -> int:
    """How many executions there are in the answer of a door."""
    match answer:
        case int():
            return answer
        case Stats():
            return answer.total
        case _:
            return sum(map(counted, answer.values()))


def test_every_door_asks_whose_call_it_is_and_has_a_row_here() -> None:
    found = doors(tallies, writers=frozenset())

    assert without_caller(found) == []
    assert set(SHOWN) == set(found)


async def test_every_door_counts_for_the_owner_and_for_an_admin_alone(rows: Rows) -> None:
    execution = await rows.pending()

    async def answers(who: Caller) -> dict[str, int]:
        async with rows.db.read() as connection:
            asked = {
                door: await ask(connection, who, execution.workflow_id) for door, (ask, *_) in SHOWN.items()
            }
        return {door: counted(answer) for door, answer in asked.items()}

    assert await answers(ALICE) == {door: shown for door, (_, shown, _) in SHOWN.items()}
    assert await answers(ROOT) == {door: shown for door, (_, shown, _) in SHOWN.items()}
    assert await answers(BOB) == {door: withheld for door, (*_, withheld) in SHOWN.items()}


async def test_a_window_is_widened_to_whole_hours(rows: Rows) -> None:
    workflow, other = await rows.workflow(), await rows.workflow()
    await rows.pending(workflow)
    await rows.running(workflow, created_at=NOW - timedelta(hours=1))
    ended = await rows.running(other)
    await rows.append(ended.id, COMPLETED)

    async def within(**chosen: Any) -> dict[ExecutionStatus, int]:
        return await by_status(rows, StatsFilter(**chosen))

    noon, hour = NOW.replace(minute=0, second=0, microsecond=0), timedelta(hours=1)
    moment = timedelta(microseconds=1)
    assert await within() == {PENDING: 1, RUNNING: 1, ENDED: 1}
    assert await within(created=Period(start=noon + hour - moment)) == {PENDING: 1, ENDED: 1}
    assert await within(created=Period(start=noon + hour)) == {}
    assert await within(created=Period(start=noon - moment)) == {PENDING: 1, RUNNING: 1, ENDED: 1}
    assert await within(created=Period(end=noon)) == {RUNNING: 1}
    assert await within(created=Period(end=noon + moment)) == {PENDING: 1, RUNNING: 1, ENDED: 1}
    assert await within(created=Period(noon - hour, noon)) == {RUNNING: 1}
    assert await within(created=Period(noon, noon - hour)) == {}
    assert await within(workflow_ids=frozenset({workflow.id})) == {PENDING: 1, RUNNING: 1}
    assert await within(workflow_ids=frozenset({workflow.id}), created=Period(start=noon)) == {PENDING: 1}
    assert await within(workflow_ids=frozenset({uuid4()})) == {}
    assert await within(workflow_ids=frozenset()) == {}


@pytest.mark.parametrize("seed", range(3))
async def test_percentiles_are_within_five_percent_of_the_nearest_rank(rows: Rows, seed: int) -> None:
    random, workflow = Random(seed), await rows.workflow()
    took = [random.choice([0.001, 0.00133, 0.0121, 1, 60, 86_400]) * random.uniform(1, 10) for _ in range(41)]
    for seconds in took:
        execution = await rows.running(workflow)
        await rows.append(execution.id, completed(round(seconds, 6)))
    await rows.append((await rows.running(workflow)).id, FAILED)

    async with rows.db.read() as connection:
        found = await tallies.stats(connection, ALICE, EVERY)

    ranked = sorted(took)
    assert found.duration(50) == pytest.approx(ranked[20], rel=0.05)
    assert found.duration(95) == pytest.approx(ranked[38], rel=0.05)
    assert found.duration(100) == pytest.approx(ranked[40], rel=0.05)
    assert sum(found.durations.values()) == 41


async def test_what_a_process_tallied_that_knows_no_duration_tallies_is_counted(rows: Rows) -> None:
    """As one does that has not yet been replaced since migration 0005."""
    workflow = await rows.workflow()
    await rows.append((await rows.running(workflow)).id, completed(1.0))
    old = "INSERT INTO execution_tally VALUES ('alice', :workflow, 'epoch', 'COMPLETED', 7, 2)"
    async with rows.db.write() as tx:
        await tx.connection.execute(text(old), {"workflow": workflow.id})

    async with rows.db.read() as connection:
        found = await tallies.stats(connection, ALICE, EVERY)
        total = await tallies.total(connection, ALICE, statuses=frozenset({ENDED}))

    assert found.counts[ENDED] == total == 3
    assert found.durations == {7: 2, next(bucket for bucket in found.durations if bucket != 7): 1}


async def test_an_end_before_its_start_took_no_time(rows: Rows) -> None:
    """Clocks differ: nothing may fail for it."""
    workflow = await rows.workflow()
    await rows.append((await rows.running(workflow)).id, completed(-5.0))
    await rows.append((await rows.pending(workflow)).id, COMPLETED)

    async with rows.db.read() as connection:
        found = await tallies.stats(connection, ALICE, EVERY)

    assert found.durations == {1: 2}
    assert found.duration(50) == pytest.approx(0.001, rel=0.05)


async def test_the_bucket_of_a_duration_is_the_one_whose_middle_is_nearest(rows: Rows) -> None:
    workflow = await rows.workflow()
    places = (1, 2, 3, 50, 100, 150)
    for edge in (FIRST_BUCKET_SECONDS * BUCKET_GROWTH**place for place in places):
        await rows.append((await rows.running(workflow)).id, completed(edge * 0.999))
        await rows.append((await rows.running(workflow)).id, completed(edge * 1.001))

    async with rows.db.read() as connection:
        found = await tallies.stats(connection, ALICE, EVERY)

    assert found.durations == Counter(
        bucket for place in (1, 2, 3, 50, 100, 150) for bucket in (place, place + 1)
    )


async def test_a_total_is_of_the_workflows_and_statuses_that_are_given(rows: Rows) -> None:
    workflow, other = await rows.workflow(), await rows.workflow()
    await rows.pending(workflow)
    await rows.running(workflow)
    await rows.running(other)

    async with rows.db.read() as connection:
        assert await tallies.total(connection, ALICE) == 3
        assert await tallies.total(connection, ALICE, frozenset({workflow.id})) == 2
        assert await tallies.total(connection, ALICE, None, frozenset({RUNNING})) == 2
        assert (
            await tallies.total(connection, ALICE, frozenset({workflow.id}), frozenset({RUNNING, ENDED})) == 1
        )
        assert await tallies.total(connection, ALICE, frozenset(), None) == 0
        assert await tallies.total(connection, ALICE, None, frozenset()) == 0


async def test_timelines_count_by_hour_and_by_day(rows: Rows) -> None:
    workflow, other = await rows.workflow(), await rows.workflow()
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    for place, hours in enumerate((-1.5, 0, 0.9, 23.5)):
        moment = midnight + timedelta(hours=hours)
        await rows.pending(workflow if place else other, created_at=moment)

    async with rows.db.read() as connection:
        hourly = await tallies.timeline(connection, ALICE, EVERY, TimeBucket.HOUR)
        daily = await tallies.timeline(connection, ALICE, EVERY, TimeBucket.DAY)
        ids = [workflow.id, other.id]
        each = await tallies.timelines_by_workflow(connection, ALICE, ids, Period(), TimeBucket.DAY)

    def pending(found: Timeline) -> dict[float, int]:
        """The counts by the hours from midnight."""
        return {
            (start - midnight) / timedelta(hours=1): counts[PENDING]
            for start, counts in sorted(found.items())
        }

    assert pending(hourly) == {-2: 1, 0: 2, 23: 1}
    assert pending(daily) == {-24: 1, 0: 3}
    assert {id: pending(found) for id, found in each.items()} == {workflow.id: {0: 3}, other.id: {-24: 1}}
