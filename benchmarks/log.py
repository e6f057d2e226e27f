"""What one Postgres takes: events appended as a tracker appends them, `python -m benchmarks.log`.

For one owner and for many, by ever more writers at once, each event in a transaction of its own and twenty
in one; commits wait for the disk. Last, what an event takes on the disk with its indexes.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import uvloop

from app import migrate, servers
from app.db import Database, Plans
from app.records import Draft
from app.store import events, tracking, workflows
from app.tables import EventType, ExecutionStatus
from benchmarks.measures import say
from benchmarks.processes import cpu_seconds

SECONDS = 4.0
WRITERS = (1, 4, 16)
BATCH = 20
OWNERS = 16
SIZE = "SELECT pg_total_relation_size('execution_event')::float / count(*) FROM execution_event"


@asynccontextmanager
async def _database() -> AsyncIterator[tuple[Database, str, int]]:
    """A database on the disk, its address, and the process of its server."""
    with tempfile.TemporaryDirectory() as directory:
        postgres = servers.postgres(Path(directory), durable=True)
        async with servers.running(postgres):
            assert postgres.pid
            await asyncio.to_thread(migrate.upgrade, postgres.address)
            db = Database(
                postgres.address, pool_size=20, statement_timeout_seconds=30, announce=lambda _: None
            )
            yield db, postgres.address, postgres.pid
            await db.close()


async def main(seconds: float) -> None:
    """Measure and print."""
    async with _database() as (db, address, pid):
        owners = [await _execution(db, f"owner {number}") for number in range(OWNERS)]
        for title, ids in (("one owner", owners[:1]), (f"{OWNERS} owners", owners)):
            for writers in WRITERS:
                for batch in (1, BATCH):
                    await _appended(db, pid, title, ids, writers, batch, seconds)
        connection = await asyncpg.connect(address)
        say(f"an event with its indexes: {await connection.fetchval(SIZE):,.0f} bytes")
        await connection.close()


async def _appended(  # noqa: PLR0917 - what one line of the table says
    db: Database, pid: int, title: str, ids: Sequence[UUID], writers: int, batch: int, seconds: float
) -> None:
    began, cpu, deadline = time.monotonic(), cpu_seconds(pid), time.monotonic() + seconds
    counts = await asyncio.gather(
        *(_write(db, ids[number % len(ids)], batch, deadline) for number in range(writers))
    )
    took, count = time.monotonic() - began, sum(counts)
    say(
        f"{title}, {writers} writers, {batch} in a transaction: {count / took:,.0f} events a second, "
        f"Postgres' CPU {(cpu_seconds(pid) - cpu) / count * 1000:.2f} ms each"
    )


async def _write(db: Database, execution_id: UUID, batch: int, deadline: float) -> int:
    count = 0
    draft = Draft(EventType.ACTIVITY_COMPLETED, "Activity charge completed", datetime.now(UTC))
    while time.monotonic() < deadline:
        async with db.write(Plans.FOR_ALL) as tx:
            tracked = await tracking.lock(tx, execution_id)
            await events.append(tx, tracked.execution, [draft] * batch)
        count += batch
    return count


async def _execution(db: Database, owner: str) -> UUID:
    now, id = datetime.now(UTC), uuid4()
    named = {"owner_id": owner, "created_at": now, "updated_at": now}
    workflow = {"name": "Order", "workflow_type": "OrderWorkflow", "task_queue": "orders"}
    async with db.write() as tx:
        created = await workflows.create(tx, {**named, **workflow})
        values = {
            **named,
            "id": id,
            "workflow_id": created.id,
            "status": ExecutionStatus.PENDING,
            "started_by": owner,
            "temporal_workflow_id": str(id),
        }
        await events.create(tx, values, Draft(EventType.EXECUTION_CREATED, "Created", now))
    return id


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for each line ({SECONDS:g})")
    uvloop.run(main(parser.parse_args().seconds))
