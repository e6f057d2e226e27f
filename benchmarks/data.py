"""The executions that all contestants serve: a database for each number of rows, on one Postgres."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from app import migrate
from benchmarks import lists

OWNER = "owner 7"
# The newest ones have their history; the log of all of them would have six times as many rows.
WITH_HISTORY, EVENTS = 1_000, 6

LOG = """
    INSERT INTO execution_event (
        owner_id, position, execution_id, version, type, status, message, timestamp, details, recorded_at
    )
    SELECT owner_id, (place - 1) * $3::int + version, id, version,
        (ARRAY['EXECUTION_CREATED', 'EXECUTION_STARTED', 'ACTIVITY_SCHEDULED', 'ACTIVITY_STARTED',
            'ACTIVITY_COMPLETED', 'EXECUTION_COMPLETED'])[version],
        CASE WHEN version = 1 THEN 'PENDING' ELSE 'RUNNING' END, 'What happened, for people',
        created_at + version * interval '10 ms', '{"activityType": "charge"}', created_at
    FROM (
        SELECT owner_id, id, created_at, row_number() OVER (ORDER BY created_at, id) AS place FROM (
            SELECT owner_id, id, created_at FROM execution WHERE owner_id = $1
            ORDER BY created_at DESC, id DESC LIMIT $2
        ) newest
    ) placed, generate_series(1, $3::int) AS version
"""
FEED = """
    INSERT INTO feed (owner_id, last_position)
    SELECT owner_id, max(position) FROM execution_event GROUP BY owner_id
"""


@dataclass(frozen=True)
class Rows:
    """A database and what can be asked for in it: ids of executions, newest first, and one workflow's."""

    url: str
    count: int
    owned: int
    ids: list[UUID]
    workflow_id: UUID


async def filled(server_url: str, count: int) -> Rows:
    """A database of its own with so many executions."""
    name = f"rows_{count}"
    await _execute(server_url, f"CREATE DATABASE {name}")
    url = server_url.replace("@/postgres?", f"@/{name}?")
    assert url != server_url
    await asyncio.to_thread(migrate.upgrade, url)
    await lists.load(url, count)
    await _execute(url, LOG, OWNER, WITH_HISTORY, EVENTS)
    await _execute(url, FEED)
    await _execute(url, "VACUUM ANALYZE execution_event")
    await _execute(url, "CHECKPOINT")
    return await _rows(url, count)


async def _rows(url: str, count: int) -> Rows:
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch(
            "SELECT id, workflow_id FROM execution WHERE owner_id = $1 ORDER BY created_at DESC, id DESC",
            OWNER,
        )
    finally:
        await connection.close()
    return Rows(url, count, len(found), [row["id"] for row in found], found[0]["workflow_id"])


async def _execute(url: str, statement: str, *values: object) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()
