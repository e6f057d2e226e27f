"""Lists, feeds and what the trackers ask for are read through an index, however much there is."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest_asyncio
from sqlalchemy import text

from app.db import Database, Transaction
from app.filters import Period, StatsFilter
from app.paging import NewestKey
from app.records import ExecutionRecord
from app.stats import TimeBucket
from app.store import events, executions, tallies, tracking, workflows
from tests.store.rows import ALICE, NOW, ROOT, Rows, draft
from tests.store.statements import Statement, recorded

LOAD = [
    # Alice has half of everything; 2,000 others share the rest.
    """
    INSERT INTO workflow SELECT (jsonb_populate_record(w, jsonb_build_object(
        'id', gen_random_uuid(),
        'owner_id', CASE WHEN n % 2 = 0 THEN 'alice' ELSE 'owner ' || n END,
        'created_at', w.created_at + n * interval '1 second'
    ))).* FROM workflow w, generate_series(1, 4000) n
    """,
    """
    INSERT INTO execution SELECT (jsonb_populate_record(e, jsonb_build_object(
        'id', gen_random_uuid(),
        'owner_id', CASE WHEN n % 2 = 0 THEN 'alice' ELSE 'owner ' || n END,
        'temporal_workflow_id', 'w-' || n,
        'status', CASE WHEN n % 50 = 0 THEN 'RUNNING' WHEN n % 51 = 0 THEN 'PENDING' ELSE 'COMPLETED' END,
        'start_unsettled', n % 51 = 0,
        'created_at', e.created_at + n * interval '1 second',
        'confirmed_at', e.confirmed_at + n * interval '1 second'
    ))).* FROM execution e, generate_series(1, 4000) n
    """,
    """
    INSERT INTO execution_event SELECT (jsonb_populate_record(v, jsonb_build_object(
        'execution_id', e.id,
        'owner_id', e.owner_id,
        'version', n,
        'position', 1000 + row_number() OVER (PARTITION BY e.owner_id ORDER BY e.created_at, n)
    ))).* FROM execution_event v, execution e, generate_series(1001, 1003) n WHERE v.version = 1
    """,
    """
    INSERT INTO feed SELECT owner_id, max(position) FROM execution_event GROUP BY owner_id
    ON CONFLICT (owner_id) DO UPDATE SET last_position = excluded.last_position
    """,
    # Twenty hours of alice's workflow and of some hundred others.
    """
    INSERT INTO execution_tally SELECT (jsonb_populate_record(t, jsonb_build_object(
        'owner_id', w.owner_id,
        'workflow_id', w.id,
        'hour', t.hour - n * interval '1 hour'
    ))).* FROM execution_tally t, generate_series(1, 20) n, workflow w
    WHERE t.hour > 'epoch' AND (w.id = t.workflow_id OR w.owner_id LIKE '%1')
    """,
    "ANALYZE",
]


# Both hold the open executions alone: one is as good as the other where no order is asked for.
OPEN = {"ix_execution_open", "ix_execution_unconfirmed"}
BULKY = {"workflow", "execution", "execution_event", "execution_tally", "feed"}


@dataclass(frozen=True)
class Plan:
    """How Postgres means to answer one statement."""

    nodes: list[dict[str, Any]]

    @property
    def indexes(self) -> set[str]:
        names = {node["Index Name"] for node in self.nodes if "Index Name" in node}
        return {"any of the open" if name in OPEN else name for name in names}

    @property
    def flaws(self) -> set[str]:
        """What takes the longer the more there is: a table read whole, rows sorted."""
        scans = {node["Relation Name"] for node in self.nodes if node["Node Type"] == "Seq Scan"}
        sorts = {"a sort" for node in self.nodes if "Sort" in node["Node Type"]}
        return {f"all of {table}" for table in scans & BULKY} | sorts


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


async def explain(db: Database, statement: Statement) -> Plan:
    """The plan for the statement with its own parameters."""
    async with db.read() as connection:
        query = f"EXPLAIN (FORMAT JSON) {statement.text}"
        found = await connection.exec_driver_sql(query, tuple(statement.parameters))
        return Plan(list(nodes(found.scalar_one()[0]["Plan"])))


Ask = Callable[[Transaction], Awaitable[Any]]


async def plans(db: Database, ask: Ask) -> list[Plan]:
    """The plans for all that a piece of the store says."""
    async with db.write() as tx:
        with recorded(db) as said:
            await ask(tx)
    return [await explain(db, statement) for statement in said]


@pytest_asyncio.fixture
async def busy(rows: Rows) -> ExecutionRecord:
    """An execution of alice's with 500 events, among some thousand rows of everything."""
    execution = await rows.running()
    await rows.append(execution.id, *[draft()] * 500)
    async with rows.db.write() as tx:
        for statement in LOAD:
            await tx.connection.execute(text(statement))
    return await rows.execution(execution.id)


Questions = dict[str, tuple[Ask, list[set[str]]]]


def of_users(busy: ExecutionRecord) -> Questions:
    """What the API asks for, and the indexes that each statement of it goes through."""
    deep = NewestKey(NOW + timedelta(seconds=2_000), uuid4())
    page_of_feed = [{"pk_execution_event", "pk_execution"}, {"pk_feed"}]
    return {
        "newest executions": (
            lambda tx: executions.newest(tx.connection, ALICE, 100, None),
            [{"ix_execution_owner_newest"}],
        ),
        "executions behind a cursor": (
            lambda tx: executions.newest(tx.connection, ALICE, 100, deep),
            [{"ix_execution_owner_newest"}],
        ),
        "executions by id": (
            lambda tx: executions.by_ids(tx.connection, ALICE, [busy.id]),
            [{"pk_execution"}],
        ),
        "newest workflows": (
            lambda tx: workflows.newest(tx.connection, ALICE, 100, None, archived=False),
            [{"ix_workflow_owner_newest"}],
        ),
        "workflows behind a cursor": (
            lambda tx: workflows.newest(tx.connection, ALICE, 100, deep, archived=True),
            [{"ix_workflow_owner_newest"}],
        ),
        "history": (
            lambda tx: events.history(tx.connection, busy, 50, 100),
            [{"ix_execution_event_execution_position"}],
        ),
        "last position": (
            lambda tx: events.last_position(tx.connection, busy.id),
            [{"ix_execution_event_execution_position"}],
        ),
        "event by version": (
            lambda tx: events.get(tx.connection, busy, 400),
            [{"uq_execution_event_execution_id_version"}],
        ),
        "feed": (lambda tx: events.after(tx.connection, "alice", 0, 200), page_of_feed),
        "feed at depth": (lambda tx: events.after(tx.connection, "alice", 2_000, 200), page_of_feed),
    }


def of_tallies(busy: ExecutionRecord) -> Questions:
    """What statistics ask for."""
    hours = Period(NOW - timedelta(hours=5), NOW)
    return {
        "stats": (
            lambda tx: tallies.stats(tx.connection, ALICE, StatsFilter()),
            [{"ix_execution_tally_owner_hour"}],
        ),
        "stats of everybody": (
            lambda tx: tallies.stats(tx.connection, ROOT, StatsFilter()),
            [{"ix_execution_tally_hour"}],
        ),
        "stats of a window": (
            lambda tx: tallies.stats(tx.connection, ALICE, StatsFilter(created=hours)),
            [{"ix_execution_tally_owner_hour"}],
        ),
        "stats of workflows": (
            lambda tx: tallies.stats(tx.connection, ALICE, StatsFilter(frozenset({busy.workflow_id}), hours)),
            [{"pk_workflow", "pk_execution_tally"}],
        ),
        "timeline": (
            lambda tx: tallies.timeline(tx.connection, ALICE, StatsFilter(created=hours), TimeBucket.HOUR),
            [{"ix_execution_tally_owner_hour"}],
        ),
        "timelines of workflows": (
            lambda tx: tallies.timelines_by_workflow(
                tx.connection, ALICE, [busy.workflow_id], hours, TimeBucket.HOUR
            ),
            [{"pk_workflow", "pk_execution_tally"}],
        ),
    }


def of_processes() -> Questions:
    """What hubs and trackers ask for."""
    some = [f"owner {number}" for number in range(1, 400, 2)]
    far = NOW + timedelta(days=10_000)
    return {
        "heads": (lambda tx: events.heads(tx.connection, some), [{"pk_feed"}]),
        "unsettled starts": (
            lambda tx: tracking.claim_unsettled(tx, far, 20),
            [{"ix_execution_unsettled_start", "pk_execution"}],
        ),
        "unconfirmed runs": (
            lambda tx: tracking.claim_unconfirmed(tx, far, 20),
            [{"any of the open", "pk_execution"}],
        ),
        "runs by workflow id": (
            lambda tx: tracking.open_runs_of(tx.connection, ["w-50", "w-51"]),
            [{"uq_execution_temporal_workflow_id"}],
        ),
        "paused runs": (lambda tx: tracking.paused(tx.connection), [{"any of the open"}]),
    }


async def test_each_question_is_answered_through_its_index(busy: ExecutionRecord, rows: Rows) -> None:
    questions = of_users(busy) | of_processes()

    found = {name: await plans(rows.db, ask) for name, (ask, _) in questions.items()}
    (claim,) = await plans(rows.db, lambda tx: tracking.claim(tx, uuid4(), ["alice"], [busy.id], 20))

    assert {name: [plan.indexes for plan in plans] for name, plans in found.items()} == {
        name: indexes for name, (_, indexes) in questions.items()
    }
    assert {name: plan.flaws for name, plans in found.items() for plan in plans if plan.flaws} == {}
    # A cursor is looked up: what is before it is not read.
    for name in ("executions behind a cursor", "workflows behind a cursor"):
        (scan,) = [node for node in found[name][0].nodes if "Index Name" in node]
        assert "ROW(created_at, id) < ROW(" in scan["Index Cond"]
        assert "Filter" not in scan
    # Watched owners' runs are claimed first, which no index knows; but only open ones are looked at.
    assert claim.indexes == {"any of the open", "pk_execution"}
    assert claim.flaws == {"a sort"}


async def test_statistics_are_read_from_the_tallies_of_their_hours_alone(
    busy: ExecutionRecord, rows: Rows
) -> None:
    questions = of_tallies(busy)

    found = {name: await plans(rows.db, ask) for name, (ask, _) in questions.items()}

    assert {name: [plan.indexes for plan in plans] for name, plans in found.items()} == {
        name: indexes for name, (_, indexes) in questions.items()
    }
    # The sums are by group: the few rows that were found may be sorted for it.
    assert set().union(*(plan.flaws for plans in found.values() for plan in plans)) <= {"a sort"}
    for name, (plan,) in found.items():
        scans = [node["Index Cond"] for node in plan.nodes if "tally" in node.get("Index Name", "")]
        assert len(scans) == 1
        assert "hour" in scans[0], name
