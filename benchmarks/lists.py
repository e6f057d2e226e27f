"""Lists over a million executions of a hundred owners, measured in Postgres: `python -m benchmarks.lists`.

Each question is asked through the store as the API asks it, 50 times (a total of all owners 3 times); the
figures are the median in ms with the driver's and SQLAlchemy's part, and what one more run looked at: rows
of tables, blocks of 8 KiB.
At the published size it writes docs/lists.md.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from app import migrate, servers
from app.auth import ADMIN, USER_SCOPES, Caller
from app.db import Database
from app.filters import EVERY_EXECUTION, ExecutionFilter, Period, StatsFilter
from app.listings import ExecutionListing, ExecutionOrderField
from app.paging import Key, Window
from app.stats import TimeBucket
from app.store import executions, tallies
from app.tables import ExecutionStatus
from tests.faults.record import machine
from tests.store.plans import Ask, plans

EXECUTIONS, OWNERS, WORKFLOWS = 1_000_000, 100, 20
RUNS, LONG_RUNS, DEPTH = 50, 3, 10_000
LONG = "all owners, total"
FIRST, DEEP = "first page", f"page by cursor at depth {DEPTH:,}"
BOUNDS = """
Statistics, and the totals of workflows and statuses, are sums of tallies. A workflow has a tally for each
status, and where durations are asked one for each bucket of them (each 10 % longer than the one before:
about 250 from a millisecond to a year); and such tallies again for each hour in which executions were
created, which are read where there is a window or a timeline. So at most workflows x hours x (6 + buckets)
rows are read, however many executions there are, and without durations workflows x hours x 6.

Any other total counts what is chosen, through an index unless that is most of all: its time grows with what
is chosen. In production a statement is given up after STATEMENT_TIMEOUT_SECONDS (10) and the field answers
UNAVAILABLE; what an admin asks of all owners comes there first.

In the order of creation each filter has its index. In another order a page of a filter with many hits walks
that order's index until it is full: at worst over all of the owner's executions, for an admin over all there
are.
"""
REPORT = Path(__file__).parent.parent / "docs" / "lists.md"
NOW = datetime(2026, 1, 8, tzinfo=UTC)
OWNER = Caller("owner 7", "owner 7", frozenset(USER_SCOPES), datetime(2100, 1, 1, tzinfo=UTC))
EVERYBODY = Caller("root", "root", frozenset({ADMIN}), datetime(2100, 1, 1, tzinfo=UTC))

# One execution every eight seconds, the owners in turn; owner 7 has three shares, to page through deeply.
LOAD = (
    """
    INSERT INTO workflow (id, owner_id, name, workflow_type, task_queue, created_at, updated_at)
    SELECT gen_random_uuid(), 'owner ' || o, 'Order ' || w, 'OrderWorkflow', 'orders', $1, $1
    FROM generate_series(1, $2::int) o, generate_series(1, $3::int) w
    """,
    """
    INSERT INTO execution (
        id, owner_id, workflow_id, status, version, input, output, labels, started_by, temporal_workflow_id,
        next_history_event, start_unsettled, created_at, started_at, completed_at, updated_at
    )
    SELECT id, owner, workflow, status, 6, '{"order": 1}', '{"total": 2}',
        jsonb_build_object('env', CASE WHEN n % 3 = 0 THEN 'prod' ELSE 'test' END, 'customer', 'c' || n / 50),
        owner, 'temporal-graphql-' || id, 20, false, created, created + interval '0.1 s',
        CASE WHEN status NOT IN ('PENDING', 'RUNNING', 'PAUSED') THEN created + took END, created + took
    FROM (
        SELECT n, gen_random_uuid() AS id, 'owner ' || owner AS owner,
            $1::timestamptz - (n * 8 + random()) * interval '1 s' AS created,
            (1 + random() * 600) * interval '1 s' AS took,
            ids[1 + (n / $2::int) % $3::int] AS workflow,
            CASE WHEN chance < 1 THEN 'PAUSED' WHEN chance < 11 THEN 'RUNNING'
                WHEN chance < 31 THEN 'CANCELLED' WHEN chance < 81 THEN 'FAILED'
                ELSE 'COMPLETED' END AS status
        FROM (
            SELECT n, abs(hashint4(n)) % 1000 AS chance,
                CASE WHEN n % 50 = 0 THEN 7 ELSE 1 + n % $2::int END AS owner
            FROM generate_series(1, $4::int) n
        ) numbered
        JOIN (SELECT owner_id, array_agg(id) AS ids FROM workflow GROUP BY 1) owned
            ON owned.owner_id = 'owner ' || numbered.owner
    ) made
    """,
)


async def load(url: str, count: int) -> None:
    """The workflows, executions and tallies; the indexes are built after, as that takes minutes less."""
    connection = await asyncpg.connect(url)
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'execution' AND indexname LIKE 'ix%'"
    )
    await connection.execute("SET maintenance_work_mem = '512MB'; SET synchronous_commit = off")
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['indexname']}")
    await connection.execute(LOAD[0], NOW, OWNERS, WORKFLOWS)
    await connection.execute(LOAD[1], NOW, OWNERS, WORKFLOWS, count)
    for index in indexes:
        await connection.execute(index["indexdef"])
    await connection.execute(import_module("migrations.versions.0002_lists_and_tallies").COUNT_ALL)
    await connection.execute(import_module("migrations.versions.0005_duration_tallies").PART)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def place_at(db: Database, depth: int) -> Key:
    """Where the owner's row of that number stands, the newest being the first."""
    async with db.read() as connection:
        page = await executions.page(connection, OWNER, ExecutionListing(), Window(1, skipped=depth - 1))
    return ExecutionListing().key(page.items[0])


def page(caller: Caller, chosen: ExecutionFilter = EVERY_EXECUTION, **more: Any) -> Ask:
    """The question for a page of ten."""
    listing = ExecutionListing(chosen, more.pop("field", ExecutionOrderField.CREATED_AT))
    return lambda tx: executions.page(tx.connection, caller, listing, Window(10, **more))


def total(caller: Caller, chosen: ExecutionFilter) -> Ask:
    """The question for a count that no tally answers."""
    return lambda tx: executions.count(tx.connection, caller, chosen)


def statistics_of(caller: Caller) -> Mapping[str, Ask]:
    """What tallies answer."""
    days = {count: Period(NOW - timedelta(days=count), NOW) for count in (30, 40, 90)}

    def timeline(count: int, bucket: TimeBucket) -> Ask:
        return lambda tx: tallies.timeline(tx.connection, caller, StatsFilter(created=days[count]), bucket)

    return {
        "stats": lambda tx: tallies.stats(tx.connection, caller, StatsFilter()),
        "stats without durations, and the total of all": lambda tx: tallies.total(tx.connection, caller),
        "stats, 30 days": lambda tx: tallies.stats(tx.connection, caller, StatsFilter(created=days[30])),
        "timeline DAY, 90 days": timeline(90, TimeBucket.DAY),
        "timeline HOUR, 40 days": timeline(40, TimeBucket.HOUR),
    }


def filters(workflow: UUID) -> Mapping[str, ExecutionFilter]:
    """Each part alone, in the midst of the data where it is a time."""
    some_day = Period(NOW - timedelta(days=30), NOW - timedelta(days=29))
    return {
        "workflow": ExecutionFilter(frozenset({workflow})),
        "status (2 %)": ExecutionFilter(statuses=frozenset({ExecutionStatus.CANCELLED})),
        "two statuses": ExecutionFilter(statuses=frozenset(list(ExecutionStatus)[3:5])),
        "createdAt (a day)": ExecutionFilter(created=some_day),
        "completedAt (a day)": ExecutionFilter(completed=some_day),
        "completedAt (since)": ExecutionFilter(completed=Period(NOW - timedelta(days=30))),
        "label (rare)": ExecutionFilter(labels=frozenset({("customer", "c9000")})),
        "label (a third)": ExecutionFilter(labels=frozenset({("env", "prod")})),
        "search (rare)": ExecutionFilter(search="C9000"),
        "search (everything)": ExecutionFilter(search="graphql"),
        "search (a name)": ExecutionFilter(search="order 17"),
        "search (nothing)": ExecutionFilter(search="no such thing"),
    }


async def questions(db: Database, depth: int) -> Mapping[str, Ask]:
    """All that is measured, by name."""
    deep = await place_at(db, depth)
    async with db.read() as connection:
        first = await executions.page(connection, OWNER, ExecutionListing(), Window(1))
    chosen = filters(first.items[0].workflow_id)
    # No tally answers for these.
    counted = dict(list(chosen.items())[3:])
    orders = {
        f"order {field}, first page": page(OWNER, field=field) for field in list(ExecutionOrderField)[1:]
    }
    return {
        FIRST: page(OWNER),
        DEEP: page(OWNER, after=deep),
        "page before that cursor": page(OWNER, before=deep, backward=True),
        "numbered page as deep": page(OWNER, skipped=depth - 10),
        **orders,
        **{f"filter {name}, first page": page(OWNER, each) for name, each in chosen.items()},
        "filter label (rare), order UPDATED_AT": page(
            OWNER, chosen["label (rare)"], field=ExecutionOrderField.UPDATED_AT
        ),
        **statistics_of(OWNER),
        **{f"filter {name}, total": total(OWNER, each) for name, each in counted.items()},
        "all owners, first page": page(EVERYBODY),
        **{f"all owners, {name}": ask for name, ask in statistics_of(EVERYBODY).items()},
        **{f"all owners, filter {name}": page(EVERYBODY, each) for name, each in chosen.items()},
        **{f"{LONG}, filter {name}": total(EVERYBODY, each) for name, each in counted.items()},
    }


async def measured(db: Database, asked: Mapping[str, Ask]) -> Mapping[str, float]:
    """The median of each question in ms; they take turns: what else the machine does hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in asked}
    async with db.write() as tx:
        for run in range(-1, RUNS):
            for name, ask in asked.items():
                if name.startswith(LONG) and run >= LONG_RUNS:
                    continue
                began = time.perf_counter()
                await ask(tx)
                if run >= 0:
                    times[name].append((time.perf_counter() - began) * 1_000)
    return {name: statistics.median(taken) for name, taken in times.items()}


async def report(db: Database, scale: float) -> str:
    """A table of the figures."""
    asked = await questions(db, int(DEPTH * scale))
    medians = await measured(db, asked)
    lines = ["| question | median ms | rows | blocks | through |", "|---|---|---|---|---|"]
    for name, ask in asked.items():
        plan = (await plans(db, ask, "ANALYZE, BUFFERS,"))[-1]
        through = ", ".join(sorted(plan.indexes | {f"all of {table}" for table in plan.read_whole}))
        figures = f"{medians[name]:.2f} | {plan.rows_read:,} | {plan.blocks_read:,}"
        lines.append(f"| {name} | {figures} | {through} |")
    async with db.read() as connection:
        version = await connection.driver.fetchval("SHOW server_version")
    note = f"\nThe page at depth takes {medians[DEEP] / medians[FIRST]:.2f} times the first page's time."
    about = (
        f"{int(EXECUTIONS * scale):,} executions of {OWNERS} owners with {WORKFLOWS} workflows each; "
        f"pages of 10. Postgres {version}, on a machine with {machine()}, {datetime.now(UTC):%d %B %Y}.\n"
    )
    return "\n".join([about, *lines, note, BOUNDS.rstrip()])


@asynccontextmanager
async def loaded(count: int) -> AsyncIterator[Database]:
    """A database with that many executions, on a Postgres of its own."""
    with tempfile.TemporaryDirectory() as directory:
        server = servers.postgres(Path(directory), durable=False)
        async with servers.running(server):
            await asyncio.to_thread(migrate.upgrade, server.address)
            await load(server.address, count)
            db = Database(server.address, pool_size=2, statement_timeout_seconds=60, announce=lambda _: None)
            yield db
            await db.close()


async def main(scale: float) -> None:
    """Print the figures; write them down at the published size."""
    async with loaded(int(EXECUTIONS * scale)) as db:
        text = await report(db, scale)
    print(text)  # noqa: T201 - a program of its own
    if scale == 1:
        about = "# Lists, measured\n\nBy `python -m benchmarks.lists`, which says how. "
        REPORT.write_text(about + text + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the published size (1)")
    asyncio.run(main(parser.parse_args().scale))
