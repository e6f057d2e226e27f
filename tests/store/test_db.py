"""The two scopes: a write is kept whole and then announced, or it never was."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from asyncpg import CheckViolationError, QueryCanceledError, TooManyConnectionsError, UndefinedColumnError
from sqlalchemy import text

from app.db import Connection, Database, Driver, Plans, Transaction, driver_url
from app.deliveries import Delivery
from app.errors import Unavailable
from app.store import events, executions
from tests.eventually import eventually
from tests.store.rows import ALICE, COMPLETED, STARTED, Rows, draft

KILL_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@asynccontextmanager
async def database(
    url: str, *, pool_size: int = 2, wait_seconds: float = 5.0, statement_timeout_seconds: float = 10.0
) -> AsyncIterator[Database]:
    """Another pool; a test that gets anything announced by it fails."""

    def refuse(deliveries: object) -> None:
        raise AssertionError(f"announced: {deliveries}")

    another = Database(
        url,
        pool_size=pool_size,
        wait_seconds=wait_seconds,
        statement_timeout_seconds=statement_timeout_seconds,
        announce=refuse,
    )
    yield another
    await another.close()


async def terminate_others(db: Database) -> None:
    async def are_gone() -> bool:
        async with db.read() as connection:
            return not (await connection.execute(text(KILL_OTHERS))).all()

    await eventually(are_gone)


async def test_a_write_is_announced_after_its_commit_and_once(
    rows: Rows, announced: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await rows.pending()
    announced.clear()
    order: list[str] = []
    execute = Driver.execute

    async def noted(driver: Driver, text: str) -> str:
        result = await execute(driver, text)
        order.append(f"{text} {len(announced)}")
        return result

    monkeypatch.setattr(Driver, "execute", noted)

    async with rows.db.write() as tx:
        first = await events.append(tx, execution, [STARTED])
        second = await events.append(tx, first[0].execution, [draft(), COMPLETED])
        assert announced == []

    assert order == ["BEGIN 0", "COMMIT 0"]
    assert announced == [*first, *second]
    assert [event.version for event in await rows.feed()] == [1, 2, 3, 4]


async def test_one_statement_is_a_write_by_itself(
    rows: Rows, announced: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await rows.pending()
    announced.clear()
    monkeypatch.setattr(Connection, "transaction", None)

    async with rows.db.write_once() as tx:
        appended = await events.append(tx, execution, [STARTED])
        assert [event.version for event in await rows.feed()] == [1, 2]
        assert announced == []

    assert announced == appended


async def test_a_second_statement_needs_a_transaction(rows: Rows) -> None:
    async with rows.db.write_once() as tx:
        await tx.connection.execute(text("SELECT 1"))
        with pytest.raises(RuntimeError):
            await tx.connection.execute(text("SELECT 2"))


async def test_what_is_announced_can_be_read_by_whoever_hears_it(
    rows: Rows, announced: list[Delivery]
) -> None:
    execution = await rows.running()

    for delivery in announced:
        async with rows.db.read() as connection:
            found = await events.get(connection, execution, delivery.event.version)
        assert found == delivery.event


async def test_a_write_without_events_announces_nothing(database_url: str) -> None:
    async with database(database_url) as db:
        await Rows(db).workflow()

        async with db.read() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM workflow"))).scalar_one() == 1


async def test_an_undone_write_announces_nothing(rows: Rows, announced: list[Delivery]) -> None:
    execution = await rows.pending()
    announced.clear()

    async def fail() -> None:
        async with rows.db.write() as tx:
            await events.append(tx, execution, [STARTED])
            assert tx.deliveries
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fail()

    assert announced == []
    assert await rows.execution(execution.id) == execution
    assert [event.version for event in await rows.feed()] == [1]


async def test_a_cancelled_write_is_undone_and_gives_its_connection_back(
    database_url: str, rows: Rows
) -> None:
    execution = await rows.pending()
    appended = asyncio.Event()

    async def write(db: Database) -> None:
        async with db.write() as tx:
            await events.append(tx, execution, [STARTED])
            appended.set()
            await asyncio.Event().wait()

    async with database(database_url, pool_size=1) as db:
        task = asyncio.create_task(write(db))
        await appended.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await db.ping()

    assert await rows.execution(execution.id) == execution


@pytest.mark.parametrize("turns", range(1, 9))
async def test_a_write_that_is_cancelled_while_it_begins_leaves_no_transaction(
    database_url: str, caplog: pytest.LogCaptureFixture, turns: int
) -> None:
    async def write(db: Database) -> None:
        async with db.write():
            await asyncio.Event().wait()

    async with database(database_url, pool_size=1) as db:
        await db.ping()
        task = asyncio.create_task(write(db))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with db.read() as connection:
            begun = [(await connection.execute(text("SELECT now()"))).scalar_one() for _ in range(2)]
            assert begun[0] != begun[1], "a transaction for both"

    assert caplog.messages == []


async def test_a_cancelled_write_whose_connection_is_lost_is_cancelled(database_url: str) -> None:
    """Whoever stops a loop that goes on after outages must not be told of one."""
    began = asyncio.Event()

    async def write(db: Database) -> None:
        async with db.write() as tx:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                tx.connection.driver.terminate()

    async with database(database_url) as db:
        task = asyncio.create_task(write(db))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await db.ping()


async def test_a_server_that_falls_silent_is_unavailable(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is whose machine is gone: nobody says that the connection is lost."""
    monkeypatch.setattr("app.db.SILENCE_SECONDS", 0.5)
    async with database(database_url, statement_timeout_seconds=1.0) as db:
        async with db.read() as connection:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                await db.ping()
            async with db.read() as connection:
                assert (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one() != pid
        finally:
            os.kill(pid, signal.SIGCONT)


async def test_a_transaction_that_stands_still_is_undone_and_holds_nobody_up(
    database_url: str, rows: Rows
) -> None:
    execution = await rows.pending()

    async def write(db: Database) -> None:
        async with db.write() as tx:
            await events.append(tx, execution, [STARTED])
            assert len(await rows.append(execution.id, STARTED)) == 1
            await tx.connection.execute(text("SELECT 1"))

    async with database(database_url, statement_timeout_seconds=0.5) as db:
        with pytest.raises(Unavailable):
            await write(db)

    assert [event.version for event in await rows.feed()] == [1, 2]


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://postgres@127.0.0.1:1/postgres",
        "postgresql://postgres@/postgres?host=/nowhere/at/all",
    ],
)
async def test_a_server_that_is_not_there_is_unavailable(address: str) -> None:
    async with database(address) as db:
        for scope in (db.read, db.write, db.write_once):
            with pytest.raises(Unavailable) as caught:
                async with scope():
                    pytest.fail("there is a connection")
            assert caught.value.message == "The database does not answer."
            assert caught.value.retry_after_seconds == 1
            assert caught.value.__cause__ is not None
        with pytest.raises(Unavailable):
            await db.ping()


async def test_a_statement_that_takes_too_long_is_unavailable(database_url: str) -> None:
    async with database(database_url, statement_timeout_seconds=0.5) as db:
        await db.ping()
        with pytest.raises(Unavailable) as caught:
            async with db.read() as connection:
                await connection.execute(text("SELECT pg_sleep(30)"))
        assert isinstance(caught.value.__cause__, QueryCanceledError)
        await db.ping()


async def test_waiting_for_a_connection_has_an_end(database_url: str) -> None:
    async with database(database_url, pool_size=1, wait_seconds=1.0) as db:
        async with db.read():
            with pytest.raises(Unavailable):
                await db.ping()
        await db.ping()


async def test_a_connection_lost_in_a_write_undoes_it(database_url: str, rows: Rows) -> None:
    execution = await rows.pending()

    async def write(db: Database) -> None:
        async with db.write() as tx:
            await events.append(tx, execution, [STARTED])
            await terminate_others(rows.db)
            await tx.connection.execute(text("SELECT 1"))

    async with database(database_url) as db:
        with pytest.raises(Unavailable):
            await write(db)

    assert await rows.execution(execution.id) == execution


async def test_a_connection_lost_before_the_commit_announces_nothing(database_url: str, rows: Rows) -> None:
    execution = await rows.pending()

    async def write(db: Database) -> None:
        async with db.write() as tx:
            await events.append(tx, execution, [STARTED])
            await terminate_others(rows.db)

    async with database(database_url) as db:
        with pytest.raises(Unavailable):
            await write(db)

    assert await rows.execution(execution.id) == execution


async def test_connections_that_died_idle_are_replaced_unnoticed(database_url: str, rows: Rows) -> None:
    async with database(database_url) as db:
        async with db.read(), db.read():
            pass
        await terminate_others(rows.db)

        await db.ping()
        async with db.write() as tx:
            await tx.connection.execute(text("SELECT 1"))


async def test_where_postgres_gives_no_more_connections_those_there_are_serve(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused() -> None:
        raise TooManyConnectionsError

    async with database(database_url) as db:
        await db.ping()
        monkeypatch.setattr(db._pool, "_acquired", refused)

        async with db.read(Plans.FOR_ALL) as connection:
            await connection.execute(text("SELECT 1"))
            with pytest.raises(Unavailable):
                await db.ping()
        await db.ping()


async def test_an_append_is_planned_once_and_a_read_each_time(database_url: str, rows: Rows) -> None:
    ids = [(await rows.pending()).id for _ in range(8)]
    generic = text("SELECT sum(generic_plans) FROM pg_prepared_statements WHERE statement LIKE :said")

    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(database(database_url, pool_size=1))

        async def planned_once(said: str) -> int:
            async with db.read() as connection:
                return int((await connection.execute(generic, {"said": said})).scalar_one())

        for id in ids:
            async with db.read() as connection:
                execution = await executions.get(connection, ALICE, id)
            async with db.write_once() as tx:
                await events.append(tx, execution, [draft()])
                tx.deliveries.clear()

        assert await planned_once("WITH changed%") > 0
        assert await planned_once("SELECT execution.id%") == 0


async def test_a_refusal_of_the_tables_is_no_outage(rows: Rows) -> None:
    with pytest.raises(CheckViolationError):
        await rows.workflow(execution_timeout=-1)


async def test_a_fault_of_ours_is_no_outage(rows: Rows) -> None:
    with pytest.raises(UndefinedColumnError):
        async with rows.db.read() as connection:
            await connection.execute(text("SELECT nonsense"))


async def test_unavailable_passes_as_it_is(rows: Rows) -> None:
    mine = Unavailable("Temporal does not answer.", 7)

    with pytest.raises(Unavailable) as caught:
        async with rows.db.write():
            raise mine

    assert caught.value is mine


async def test_each_statement_of_a_read_sees_what_is_committed_by_then(rows: Rows) -> None:
    execution = await rows.pending()

    async with rows.db.read() as connection:
        before = await executions.get(connection, ALICE, execution.id)
        await rows.append(execution.id, STARTED)
        after = await executions.get(connection, ALICE, execution.id)

    assert (before.version, after.version) == (1, 2)


async def test_a_write_sees_its_own_changes_and_others_do_not_yet(rows: Rows) -> None:
    execution = await rows.pending()

    async with rows.db.write() as tx:
        await events.append(tx, execution, [STARTED])
        inside = await executions.get(tx.connection, ALICE, execution.id)
        outside = await rows.execution(execution.id)

    assert (inside.version, outside.version) == (2, 1)


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("postgresql://u:p@h:5432/d", "postgresql://u:p@h:5432/d"),
        ("postgres://h/d", "postgresql://h/d"),
        ("postgresql+psycopg2://h/d", "postgresql://h/d"),
        ("postgresql://u:p%40%2F@h/d", "postgresql://u:p%40%2F@h/d"),
        ("postgresql://u@/d?host=/tmp/x", "postgresql://u@/d?host=%2Ftmp%2Fx"),
    ],
)
def test_an_address_names_our_driver_and_keeps_the_rest(given: str, ours: str) -> None:
    assert driver_url(given) == ours


def test_a_transaction_begins_with_nothing_to_announce(rows: Rows) -> None:
    first, second = Transaction(None), Transaction(None)  # type: ignore[arg-type]  # no connection is needed

    assert first.deliveries == []
    assert first.deliveries is not second.deliveries
