"""The migrations make what the tables say, and can be taken back."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from asyncpg import IntegrityConstraintViolationError
from sqlalchemy import CheckConstraint, Connection, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from app import migrate
from app.tables import METADATA
from tests.store.rows import Rows, completed

CATALOG = {
    "columns": """
        SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid <> to_regclass('alembic_version')
    """,
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    """,
}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))
    async with engine.begin() as connection:
        yield connection
    await engine.dispose()


async def catalog(url: str) -> dict[str, set[tuple[Any, ...]]]:
    """All that Postgres knows of the tables, Alembic's own aside."""
    async with connected(url) as connection:
        return {
            name: {tuple(row) for row in await connection.execute(text(query))}
            for name, query in CATALOG.items()
        }


async def test_migrations_go_down_to_nothing_and_up_again(database_url: str) -> None:
    before = await catalog(database_url)

    await asyncio.to_thread(migrate.downgrade, database_url)
    nothing = await catalog(database_url)
    await asyncio.to_thread(migrate.upgrade, database_url)

    assert nothing == {"columns": set(), "constraints": set(), "indexes": set()}
    assert {table for table, *_ in before["columns"]} == set(METADATA.tables)
    assert await catalog(database_url) == before


async def test_migrations_can_be_repeated(database_url: str) -> None:
    before = await catalog(database_url)

    await asyncio.to_thread(migrate.upgrade, database_url)

    assert await catalog(database_url) == before


async def test_durations_are_parted_from_the_tallies_of_statuses_and_joined_again(
    rows: Rows, database_url: str
) -> None:
    workflow = await rows.workflow()
    for seconds in (0.01, 1, 1, 60):
        await rows.append((await rows.running(workflow)).id, completed(seconds))
    await rows.running(workflow)

    async def tallies(table: str) -> Counter[Any]:
        async with connected(database_url) as connection:
            found = await connection.execute(text(f"SELECT * FROM {table} WHERE hour = 'epoch'"))
            return Counter({tuple(key[3:]): count for *key, count in found if count})

    parted = await tallies("execution_tally"), await tallies("duration_tally")
    await asyncio.to_thread(migrate.downgrade, database_url, "0004")
    joined = await tallies("execution_tally")
    await asyncio.to_thread(migrate.upgrade, database_url)

    assert parted[0] == {("COMPLETED", 0): 4, ("RUNNING", 0): 1}
    assert sorted(parted[1].values()) == [1, 1, 2]
    ended = Counter({("COMPLETED", bucket): count for (bucket,), count in parted[1].items()})
    assert joined == ended + Counter({("RUNNING", 0): 1})
    assert (await tallies("execution_tally"), await tallies("duration_tally")) == parted


async def test_alembic_finds_no_difference_between_migrations_and_tables(database_url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), METADATA))

    async with connected(database_url) as connection:
        assert await connection.run_sync(differences) == []


async def test_migrated_tables_are_those_that_the_models_would_make(database_url: str) -> None:
    """Alembic does not compare CHECKs, nor what an index covers: Postgres's own words do."""
    migrated = await catalog(database_url)

    await asyncio.to_thread(migrate.downgrade, database_url)
    async with connected(database_url) as connection:
        await connection.run_sync(METADATA.create_all)

    made = await catalog(database_url)
    for kind, found in migrated.items():
        assert found == made[kind]


async def test_every_check_of_the_tables_exists(database_url: str) -> None:
    named = {
        (table.name, str(constraint.name))
        for table in METADATA.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }

    existing = {(table, name) for table, name, *_ in (await catalog(database_url))["constraints"]}

    assert ("execution_event", "ck_execution_event_type_known") in named
    assert named - existing == set()


async def test_the_tables_refuse_what_must_not_be(rows: Rows) -> None:
    await rows.running()

    for change, check in [
        ("UPDATE execution SET status = 'LOST'", "ck_execution_status_known"),
        ("UPDATE execution_event SET status = 'LOST'", "ck_execution_event_status_known"),
        ("UPDATE execution_event SET type = 'EXECUTION_LOST'", "ck_execution_event_type_known"),
        ("UPDATE workflow SET execution_timeout = -1", "ck_workflow_execution_timeout_positive"),
        ("UPDATE execution_event SET version = 1", "uq_execution_event_execution_id_version"),
        ("DELETE FROM execution", "fk_execution_event_execution_id"),
        ("DELETE FROM workflow", "fk_execution_workflow_id"),
    ]:
        with pytest.raises(IntegrityConstraintViolationError, match=check):
            async with rows.db.write() as tx:
                await tx.connection.execute(text(change))


def test_there_is_one_line_of_migrations() -> None:
    scripts = ScriptDirectory.from_config(migrate.config("postgresql://unused"))

    assert len(scripts.get_heads()) == 1
    assert len(scripts.get_bases()) == 1
    assert [script.revision for script in scripts.walk_revisions() if not script.doc] == []


def test_an_address_with_a_percent_sign_survives_alembics_configuration() -> None:
    url = "postgresql://user:p%40ss@host/db"

    assert migrate.config(url).get_main_option("database_url") == url
