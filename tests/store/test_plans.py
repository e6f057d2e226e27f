"""Lists, feeds and what the trackers ask for are read through an index, however much there is."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import text

from app.auth import Caller
from app.db import Database
from app.filters import ExecutionEventFilter, ExecutionFilter, Period, StatsFilter
from app.listings import (
    ExecutionListing,
    ExecutionOrderField,
    OrderDirection,
    WorkflowListing,
    WorkflowOrderField,
)
from app.paging import Key, Window
from app.records import ExecutionRecord
from app.rendering import Fieldset, Part
from app.stats import TimeBucket
from app.store import events, executions, tallies, tracking, workflows
from app.tables import ExecutionStatus
from app.transitions import TERMINAL
from tests.conftest import copied, database_of
from tests.store.plans import Ask, Plan, plans
from tests.store.rows import ALICE, NOW, ROOT, Rows, draft

LOAD = [
    # Alice has a tenth of everything, three quarters of it from one workflow; others share the rest.
    """
    INSERT INTO workflow SELECT row.* FROM workflow w, generate_series(1, 4000) n,
    LATERAL jsonb_populate_record(w, jsonb_build_object(
        'id', gen_random_uuid(),
        'owner_id', CASE WHEN n % 10 = 0 THEN 'alice' ELSE 'owner ' || n END,
        'name', 'Order ' || n,
        'created_at', w.created_at + n * interval '1 second'
    )) row
    """,
    """
    INSERT INTO execution SELECT row.* FROM execution e, generate_series(1, 10000) n,
    (SELECT array_agg(id) AS ids FROM workflow WHERE owner_id = 'alice') hers,
    LATERAL jsonb_populate_record(e, jsonb_build_object(
        'id', gen_random_uuid(),
        'owner_id', CASE WHEN n % 10 = 0 THEN 'alice' ELSE 'owner ' || n END,
        'workflow_id', CASE WHEN n % 40 = 10 THEN hers.ids[1 + n % 50] ELSE e.workflow_id END,
        'temporal_workflow_id', 'w-' || n,
        'status', CASE WHEN n % 500 = 0 THEN 'RUNNING' WHEN n % 51 = 0 THEN 'PENDING' ELSE 'COMPLETED' END,
        'start_unsettled', n % 51 = 0,
        'labels', jsonb_build_object(
            'batch', 'b' || n / 20, 'env', CASE WHEN n % 4 = 0 THEN 'prod' ELSE 'test' END
        ),
        'created_at', e.created_at + n * interval '1 minute',
        'started_at', CASE WHEN n % 51 > 0 THEN e.created_at + n * interval '1 minute' END,
        'completed_at',
            CASE WHEN n % 500 > 0 AND n % 51 > 0 THEN e.created_at + (n + 5) * interval '1 minute' END,
        'updated_at', e.created_at + (n + n % 7) * interval '1 minute',
        'confirmed_at', e.confirmed_at + n * interval '1 second'
    )) row
    """,
    """
    INSERT INTO execution_event SELECT row.* FROM execution_event v, (
        SELECT id, owner_id, n, row_number() OVER (PARTITION BY owner_id ORDER BY created_at, n) AS place
        FROM execution, generate_series(1001, 1003) n
    ) e,
    LATERAL jsonb_populate_record(v, jsonb_build_object(
        'execution_id', e.id, 'owner_id', e.owner_id, 'version', e.n, 'position', 1000 + e.place
    )) row WHERE v.version = 1
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
    """
    INSERT INTO duration_tally
    SELECT owner_id, workflow_id, hour, bucket, sum(count)
    FROM execution_tally, generate_series(1, 3) bucket GROUP BY 1, 2, 3, 4
    """,
    "ANALYZE",
]


FIRST = Window[Key]()
OPEN = frozenset(ExecutionStatus) - TERMINAL


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def template(
    server_database_url: str, template: str, made_once: Callable[[str], None]
) -> AsyncIterator[str]:
    """A database with some thousand rows of everything, from which each test's own is copied."""
    made_once("some thousand rows")
    async with copied(server_database_url, template) as url:
        db = Database(url, pool_size=1, statement_timeout_seconds=60.0, announce=lambda _: None)
        rows = Rows(db)
        execution = await rows.running()
        await rows.append(execution.id, *[draft()] * 500)
        async with db.write() as tx:
            for statement in LOAD:
                await tx.connection.execute(text(statement))
        await db.close()
        yield database_of(url)


@pytest_asyncio.fixture
async def busy(rows: Rows) -> ExecutionRecord:
    """The execution with 500 events."""
    id = text("SELECT id FROM execution WHERE temporal_workflow_id LIKE 'temporal-graphql-%'")
    async with rows.db.read() as connection:
        found = (await connection.execute(id)).scalar_one()
    return await rows.execution(found)


Questions = dict[str, tuple[Ask, list[set[str]]]]


def of_users(busy: ExecutionRecord) -> Questions:
    """What the API asks for, and the indexes that each statement of it goes through."""
    page_of_feed = [{"pk_execution_event", "pk_execution"}, {"pk_feed"}]
    prod = ExecutionEventFilter(labels=frozenset({("env", "prod")}))
    return {
        "executions by id": (
            lambda tx: executions.by_ids(tx.connection, ALICE, [busy.id]),
            [{"pk_execution"}],
        ),
        "histories": (
            lambda tx: events.histories(tx.connection, ALICE, [busy.id], Window(50, after=100), None),
            [{"ix_execution_event_execution_position"}],
        ),
        "last events": (
            lambda tx: events.histories(tx.connection, ALICE, [busy.id], Window(50, backward=True), None),
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
        "filtered feed": (
            lambda tx: events.after(tx.connection, "alice", 500, 50, through=1_000, chosen=prod),
            page_of_feed,
        ),
    }


def of_tallies(busy: ExecutionRecord) -> Questions:
    """What statistics ask for."""
    hours = Period(NOW - timedelta(hours=5), NOW)
    return {
        "stats": (
            lambda tx: tallies.stats(tx.connection, ALICE, StatsFilter()),
            [{"ix_execution_tally_owner_hour", "ix_duration_tally_owner_hour"}],
        ),
        "counts": (
            lambda tx: tallies.stats(tx.connection, ALICE, StatsFilter(), durations=False),
            [{"ix_execution_tally_owner_hour"}],
        ),
        "stats of everybody": (
            lambda tx: tallies.stats(tx.connection, ROOT, StatsFilter()),
            [{"ix_execution_tally_hour", "ix_duration_tally_hour"}],
        ),
        "stats of a window": (
            lambda tx: tallies.stats(tx.connection, ALICE, StatsFilter(created=hours)),
            [{"ix_execution_tally_owner_hour", "ix_duration_tally_owner_hour"}],
        ),
        "stats of workflows": (
            lambda tx: tallies.stats(tx.connection, ALICE, StatsFilter(frozenset({busy.workflow_id}), hours)),
            [{"pk_workflow", "pk_execution_tally", "pk_duration_tally"}],
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
    any_age = timedelta(days=-10_000)
    return {
        "heads": (lambda tx: events.heads(tx.connection, some), [{"pk_feed"}]),
        "unsettled starts": (
            lambda tx: tracking.claim_unsettled(tx, any_age, 20),
            [{"ix_execution_unsettled_start", "pk_execution"}],
        ),
        "unconfirmed runs": (
            lambda tx: tracking.claim_unconfirmed(tx, any_age, 20),
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
    # What was read of several lists is put in order list by list.
    pages = {name: {"a sort"} for name in ("histories", "last events")}
    assert {name: plan.flaws for name, plans in found.items() for plan in plans if plan.flaws} == pages
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
        assert len(scans) == len([index for index in plan.indexes if "tally" in index]) > 0
        assert all("hour" in scan for scan in scans), name


@dataclass(frozen=True)
class Narrowed:
    """A filter, the index that a page of it goes through, and how many rows are looked at, at most."""

    chosen: ExecutionFilter
    index: str
    at_most: int


def at(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def narrowed(busy: ExecutionRecord) -> dict[str, Narrowed]:
    """Each part of a filter alone. Alice has 1,000 executions and 400 workflows."""
    newest, own = "ix_execution_owner_newest", frozenset({busy.workflow_id})
    statuses = frozenset({ExecutionStatus.PENDING, ExecutionStatus.COMPLETED})
    deep, common = Period(at(5_000), at(5_300)), frozenset({("env", "prod")})
    return {
        "workflow": Narrowed(ExecutionFilter(own), "ix_execution_workflow_newest", 150),
        "status": Narrowed(
            ExecutionFilter(statuses=frozenset({ExecutionStatus.RUNNING})),
            "ix_execution_owner_status_newest",
            11,
        ),
        "statuses": Narrowed(ExecutionFilter(statuses=statuses), "ix_execution_owner_status_newest", 22),
        "created": Narrowed(ExecutionFilter(created=deep), newest, 11),
        "completed": Narrowed(ExecutionFilter(completed=deep), "ix_execution_owner_completed", 30),
        "completed since": Narrowed(ExecutionFilter(completed=Period(at(8_000))), newest, 50),
        "completed before": Narrowed(ExecutionFilter(completed=Period(end=at(8_000))), newest, 50),
        "label of many": Narrowed(ExecutionFilter(labels=common), newest, 50),
        "search": Narrowed(ExecutionFilter(search="w-396"), "ix_execution_owner_search", 450),
        "search of nothing": Narrowed(ExecutionFilter(search="no such"), "ix_execution_owner_search", 450),
        "search of many": Narrowed(ExecutionFilter(search="prod"), newest, 450),
        "search of all": Narrowed(ExecutionFilter(search="order"), "ix_execution_workflow_newest", 1_500),
        "short search": Narrowed(ExecutionFilter(search="w-"), newest, 450),
    }


async def the_plan(db: Database, ask: Ask) -> Plan:
    """How the one statement of a question was carried out."""
    (plan,) = await plans(db, ask, "ANALYZE,")
    return plan


async def page_of(db: Database, who: Caller, listing: ExecutionListing, window: Window[Key] = FIRST) -> Plan:
    return await the_plan(db, lambda tx: executions.page(tx.connection, who, listing, window))


async def count_of(db: Database, who: Caller, chosen: ExecutionFilter) -> Plan:
    return await the_plan(db, lambda tx: executions.count(tx.connection, who, chosen))


async def test_a_page_of_each_filter_looks_at_few_rows(
    busy: ExecutionRecord, rows: Rows, subtests: pytest.Subtests
) -> None:
    for name, expected in narrowed(busy).items():
        with subtests.test(name):
            page = await page_of(rows.db, ALICE, ExecutionListing(expected.chosen))
            total = await count_of(rows.db, ALICE, expected.chosen)

            assert expected.index in page.indexes
            assert page.rows_read <= expected.at_most
            assert page.read_whole | total.read_whole == set()
            # Her executions and her workflows: a count knows no limit.
            assert total.rows_read <= 1_500


async def test_an_admin_reads_no_more_than_an_owner(busy: ExecutionRecord, rows: Rows) -> None:
    chosen = {
        "statuses": ExecutionFilter(statuses=frozenset({ExecutionStatus.RUNNING})),
        "created": ExecutionFilter(created=Period(at(5_000), at(5_300))),
        "completed": ExecutionFilter(completed=Period(at(5_000), at(5_300))),
        "label of few": ExecutionFilter(labels=frozenset({("batch", "b201")})),
        "workflow": ExecutionFilter(frozenset({busy.workflow_id})),
    }

    found = {name: await page_of(rows.db, ROOT, ExecutionListing(each)) for name, each in chosen.items()}

    assert {name: plan.read_whole for name, plan in found.items() if plan.read_whole} == {}
    assert {name: plan.rows_read for name, plan in found.items() if plan.rows_read > 100} == {}


async def test_an_admin_counts_what_is_chosen_and_little_more(busy: ExecutionRecord, rows: Rows) -> None:
    """What no tally answers is counted; of 10,000 executions, those that are chosen; so few workflows are
    searched by name one by one, 4,001 of them.
    """
    part = Period(at(5_000), at(5_300))
    chosen = {
        "created": (ExecutionFilter(created=part), 300),
        "completed": (ExecutionFilter(completed=part), 300),
        "label of few": (ExecutionFilter(labels=frozenset({("batch", "b201")})), 20),
        "search": (ExecutionFilter(search="b201"), 4_021),
    }

    found = {name: await count_of(rows.db, ROOT, each) for name, (each, _) in chosen.items()}

    assert {name for name, plan in found.items() if plan.read_whole - {"workflow"}} == set()
    read = {name: plan.rows_read for name, plan in found.items()}
    assert {name: count for name, count in read.items() if count > chosen[name][1]} == {}


ORDERS = {
    ExecutionOrderField.CREATED_AT: "newest",
    ExecutionOrderField.STARTED_AT: "started",
    ExecutionOrderField.COMPLETED_AT: "completed",
    ExecutionOrderField.UPDATED_AT: "updated",
}
# From either end, from the middle to either end, and from what has not come to pass.
MIDDLE, LAST = Key(NOW + timedelta(minutes=5_000), uuid4()), Key(None, uuid4())
WINDOWS = [
    Window[Key](10),
    Window[Key](10, backward=True),
    Window(10, after=MIDDLE),
    Window(10, before=MIDDLE, backward=True),
    Window(10, after=LAST),
]


async def test_every_order_is_read_from_its_index_in_both_directions(
    busy: ExecutionRecord, rows: Rows
) -> None:
    flaws = []
    for who, prefix in ((ALICE, "ix_execution_owner_"), (ROOT, "ix_execution_")):
        for field, direction, window in product(ExecutionOrderField, OrderDirection, WINDOWS):
            listing = ExecutionListing(field=field, direction=direction)
            plan = await page_of(rows.db, who, listing, window)
            if plan.indexes != {prefix + ORDERS[field]} or plan.flaws or plan.rows_read > 11:
                flaws.append((who.owner, field, direction, window, plan))

    assert flaws == []


async def test_workflows_are_read_from_the_index_of_their_order(busy: ExecutionRecord, rows: Rows) -> None:
    found = {}
    for who in (ALICE, ROOT):
        for field, window in product(WorkflowOrderField, (Window[Key](10), Window[Key](10, backward=True))):
            listing = WorkflowListing(field=field)
            plan = await the_plan(rows.db, lambda tx: workflows.page(tx.connection, who, listing, window))  # noqa: B023
            found[who.owner, field, window.backward] = (plan.indexes, plan.rows_read)

    assert found == {
        (owner, field, backward): ({f"ix_workflow_{mine}{index}"}, 11)
        for owner, mine in (("alice", "owner_"), ("root", ""))
        for field, index in ((WorkflowOrderField.CREATED_AT, "newest"), (WorkflowOrderField.NAME, "name"))
        for backward in (False, True)
    }


async def test_the_lists_of_many_are_read_side_by_side(busy: ExecutionRecord, rows: Rows) -> None:
    first = Window[Key](5)
    async with rows.db.read() as connection:
        owned = await workflows.page(connection, ALICE, WorkflowListing(), Window(50))
        mine = await executions.page(connection, ALICE, ExecutionListing(), Window(50))
    workflow_ids, execution_ids = [each.id for each in owned.items], [each.id for each in mine.items]

    lists = await the_plan(
        rows.db, lambda tx: executions.pages(tx.connection, ALICE, workflow_ids, ExecutionListing(), first)
    )
    histories = await the_plan(
        rows.db, lambda tx: events.histories(tx.connection, ALICE, execution_ids, Window(2), None)
    )
    counts = await the_plan(rows.db, lambda tx: events.counts(tx.connection, ALICE, execution_ids, None))

    assert "ix_execution_workflow_newest" in lists.indexes
    assert lists.read_whole | histories.read_whole | counts.read_whole == set()
    # The workflows themselves are looked up too.
    assert lists.rows_read <= 50 * 6 + 50
    assert histories.rows_read <= 50 * 4
    assert counts.rows_read <= 50 * 4


async def test_what_is_rendered_is_looked_up_for_the_rows_of_the_page_alone(
    busy: ExecutionRecord, rows: Rows
) -> None:
    of_event, of_workflow = (
        Fieldset("ExecutionEvent", (("type", "type"),)),
        Fieldset("Workflow", (("id", "id"),)),
    )
    nodes = Fieldset("ExecutionEventConnection", (("nodes", Part("nodes", of_event)),))
    parts = (("workflow", Part("workflow", of_workflow)), ("history", Part("history", nodes, 2)))
    fieldset, first = Fieldset("Execution", (("id", "id"), *parts)), Window[Key](5)
    # A page's rows and one more, with a workflow and two events for each.
    page = 6 * (1 + 1 + 2)
    lists = {
        "all": (ExecutionListing(), page),
        "last changed": (ExecutionListing(field=ExecutionOrderField.UPDATED_AT), page),
        "open": (ExecutionListing(ExecutionFilter(statuses=OPEN)), page + len(OPEN) * 6),
    }

    read = {}
    for name, (listing, _) in lists.items():
        plan = await the_plan(
            rows.db,
            lambda tx: executions.render_page(tx.connection, ALICE, listing, first, fieldset),  # noqa: B023
        )
        read[name] = (plan.read_whole, plan.rows_read)

    assert {
        name: (whole, count) for name, (whole, count) in read.items() if whole or count > lists[name][1]
    } == {}
