"""The connections and the scopes in which they are used; the only place that commits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from types import TracebackType
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg
import orjson
from asyncpg.pgproto import pgproto
from sqlalchemy import ClauseElement, text
from sqlalchemy.engine import make_url

from app.deliveries import Delivery
from app.errors import Unavailable
from app.statements import Prepared, Rows, Statements, Values
from app.time_limits import TimeLimit

T = TypeVar("T")
Announce = Callable[[Sequence[Delivery]], None]

CONNECT_SECONDS: Final = 5
CLOSE_SECONDS: Final = 5
# Postgres itself ends what takes too long; where it does not say so in this time, it is not there.
SILENCE_SECONDS: Final = 2
RETRY_SECONDS: Final = 0.5
# Classes of SQLSTATE: a lost connection, a shutdown or a timeout, and too many of something; and the state of
# a transaction that was left alone for too long.
_OUTAGES = ("08", "57", "53", "25P03")
# The last is what the driver says of a connection that has been ended, and does not know it yet.
_FAILURES = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class Plans(StrEnum):
    """What Postgres plans a statement for that it is told again and again, in its own words."""

    # Rare values and common ones need different plans.
    FOR_EACH = "force_custom_plan"
    # To plan an append, or a look for an id, takes as long as to do it, and all are done alike.
    FOR_ALL = "auto"


class Driver(asyncpg.Connection):
    """A connection on which nothing is set that a reset would have to undo: it saves a round trip."""

    plans = Plans.FOR_EACH

    def get_reset_query(self) -> str:
        return ""

    async def plan(self, plans: Plans) -> None:
        """Have statements planned so from now on."""
        await self.execute(f"SET plan_cache_mode = {plans}")
        self.plans = plans

    def is_closing(self) -> bool:
        """Whether the server has hung up, which the pool may not know yet."""
        transport: asyncio.Transport = self._transport  # type: ignore[attr-defined]  # asyncpg's types do not have it
        return transport.is_closing()


@dataclass
class Connection:
    """Executes statements that are written with SQLAlchemy, each within the limit of time."""

    driver: Any
    statements: Statements
    limit: TimeLimit

    async def execute(
        self, statement: ClauseElement | Prepared, values: Values | Sequence[Values] | None = None
    ) -> Rows:
        """What a statement returns with some values; with several, of which nothing is returned."""
        if isinstance(values, Sequence):
            shape, many = self.statements.ready_for_many(statement, values)
            with self.limit.applied():
                await self.driver.executemany(shape.text, many)
            return Rows(shape, ())
        shape, ordered = self.statements.ready(statement, values or {})
        with self.limit.applied():
            return Rows(shape, await self.driver.fetch(shape.text, *ordered))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """What is executed within it is committed at the end, or undone."""
        try:
            await self._execute("BEGIN")
            yield
        except BaseException:
            # Also one that was cancelled while it began: that may have come too late.
            await self._execute("ROLLBACK")
            raise
        await self._execute("COMMIT")

    async def _execute(self, command: str) -> None:
        with self.limit.applied():
            await self.driver.execute(command)


@dataclass
class SingleUse(Connection):
    """A connection for one statement, which is a transaction by itself."""

    used: bool = False

    async def execute(
        self, statement: ClauseElement | Prepared, values: Values | Sequence[Values] | None = None
    ) -> Rows:
        """What the statement returns; raises RuntimeError for a second one."""
        if self.used:
            raise RuntimeError("a second statement, and no transaction that has both")
        self.used = True
        return await super().execute(statement, values)


@dataclass(frozen=True)
class Transaction:
    """A write in progress and the deliveries to announce once it is committed."""

    connection: Connection
    deliveries: list[Delivery] = field(default_factory=list)


class Pool:
    """The connections to one database, each kept at hand with the plans that it has had."""

    def __init__(self, url: str, *, size: int, wait_seconds: float, statement_timeout_seconds: float) -> None:
        timeout = str(int(statement_timeout_seconds * 1000))
        self.limit = TimeLimit(statement_timeout_seconds + SILENCE_SECONDS)
        self._wait_seconds = wait_seconds
        # Taken from asyncpg's pool and given back there is a third of what a small query costs.
        self._at_hand: Mapping[Plans, list[Any]] = {plans: [] for plans in Plans}
        self._awaited = 0
        self._pool = asyncpg.create_pool(
            driver_url(url),
            min_size=0,
            max_size=size,
            max_inactive_connection_lifetime=0,
            connection_class=Driver,
            init=_with_json,
            timeout=CONNECT_SECONDS,
            max_cached_statement_lifetime=0,
            # In Postgres each takes up to 80 KiB, for each connection.
            statement_cache_size=300,
            server_settings={
                "statement_timeout": timeout,
                # What a process that stands still has locked holds up others no longer than a statement may.
                "idle_in_transaction_session_timeout": timeout,
                "application_name": "temporal-graphql",
                # Postgres' 4 is for discs that turn: it reads too much there to find little.
                "random_page_cost": "1.1",
                "plan_cache_mode": Driver.plans.value,
            },
        )

    async def acquire(self, plans: Plans) -> Any:
        """A connection, which may have other plans as yet; raises TimeoutError where none becomes free."""
        while kept := self._at_hand[plans] or self._spare():
            driver = kept.pop()
            if not self._was_lost(driver):
                return driver
        self._awaited += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                return await self._acquired()
        except asyncpg.TooManyConnectionsError:
            # Postgres gives no more than there are.
            if not (kept := self._most_at_hand()):
                raise
            return kept.pop()
        finally:
            self._awaited -= 1

    async def release(self, driver: Any, plans: Plans, *, is_sound: bool) -> None:
        """Keep a connection at hand, unless somebody waits for one or something went wrong on it.

        One that does not come to rest in time is ended.
        """
        if is_sound and not self._awaited:
            self._at_hand[plans].append(driver)
        else:
            with suppress(TimeoutError):
                await self._pool.release(driver, timeout=SILENCE_SECONDS)

    async def close(self) -> None:
        """Close all connections; those still in use are given a moment."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                pool = await self._pool
                for driver in chain(*self._at_hand.values()):
                    await pool.release(driver)
                await pool.close()
        except TimeoutError:
            self._pool.terminate()

    def _spare(self) -> list[Any]:
        """The connections at hand with whatever plans, where there can be no more of them."""
        if self._pool.get_size() < self._pool.get_max_size():
            return []
        return self._most_at_hand()

    def _most_at_hand(self) -> list[Any]:
        return max(self._at_hand.values(), key=len)

    def _was_lost(self, driver: Any) -> bool:
        """Whether a connection is none any more: it then returns to the pool by itself."""
        if not _is_taken_back(driver) and driver.is_closing():
            driver.terminate()
        return _is_taken_back(driver)

    async def _acquired(self) -> Any:
        pool: Any = await self._pool
        while (driver := await pool.acquire()).is_closing():
            driver.terminate()
            await pool.release(driver)
        return driver


class Reading:
    """A connection for as long as it is read from. No generator: to enter one takes a tenth of a reading."""

    __slots__ = ("_driver", "_plans", "_pool", "_statements")

    def __init__(self, pool: Pool, statements: Statements, plans: Plans) -> None:
        self._pool, self._statements, self._plans = pool, statements, plans
        self._driver: Any = None

    async def __aenter__(self) -> Connection:
        try:
            self._driver = await self._pool.acquire(self._plans)
            if self._driver.plans is not self._plans:
                with self._pool.limit.applied():
                    await self._driver.plan(self._plans)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return Connection(self._driver, self._statements, self._pool.limit)

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._driver is not None:
            await self._pool.release(self._driver, self._plans, is_sound=error is None)
        if isinstance(error, _FAILURES) and _is_outage(error):
            if (task := asyncio.current_task()) is not None and task.cancelling():
                # To undo what is cancelled failed, too; that must not make good the cancellation.
                raise asyncio.CancelledError from error
            raise Unavailable("The database does not answer.", retry_after_seconds=1) from error


class WritingOnce:
    """A transaction of one statement over a reading: committed by itself, and then told."""

    __slots__ = ("_reading", "_tell", "_transaction")

    def __init__(
        self, reading: AbstractAsyncContextManager[Connection], tell: Callable[[Transaction], None]
    ) -> None:
        self._reading, self._tell = reading, tell

    async def __aenter__(self) -> Transaction:
        connection = await self._reading.__aenter__()
        self._transaction = Transaction(SingleUse(connection.driver, connection.statements, connection.limit))
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._reading.__aexit__(kind, error, trace)
        if error is None:
            self._tell(self._transaction)


class Database:
    """Gives scopes for reading and writing, over connections that a caller waits `wait_seconds` for at most.

    `announce` is called with a transaction's deliveries after its commit.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int,
        wait_seconds: float = 5.0,
        statement_timeout_seconds: float,
        announce: Announce,
    ) -> None:
        self._announce = announce
        self._statements = Statements()
        self._pool = Pool(
            url,
            size=pool_size,
            wait_seconds=wait_seconds,
            statement_timeout_seconds=statement_timeout_seconds,
        )

    def read(self, plans: Plans = Plans.FOR_EACH) -> AbstractAsyncContextManager[Connection]:
        """A connection for reading, each statement by itself; raises Unavailable when Postgres is."""
        return Reading(self._pool, self._statements, plans)

    @asynccontextmanager
    async def write(self, plans: Plans = Plans.FOR_EACH) -> AsyncIterator[Transaction]:
        """One transaction: committed on leaving and then announced, or undone; raises Unavailable."""
        async with self.read(plans) as connection, connection.transaction():
            transaction = Transaction(connection)
            yield transaction
        self._tell(transaction)

    def write_once(self) -> AbstractAsyncContextManager[Transaction]:
        """As `write`, for one statement: it needs no BEGIN and no COMMIT, and saves their round trips."""
        return WritingOnce(self.read(Plans.FOR_ALL), self._tell)

    async def ping(self) -> None:
        """Raise Unavailable unless Postgres answers."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections; those still in use are given a moment."""
        await self._pool.close()

    def _tell(self, transaction: Transaction) -> None:
        if transaction.deliveries:
            self._announce(transaction.deliveries)


async def outlasting(read: Callable[[], Awaitable[T]]) -> T:
    """What is read, which is tried again through an outage."""
    while True:
        try:
            return await read()
        except Unavailable:
            await asyncio.sleep(RETRY_SECONDS)


def uuid_of(text: str) -> UUID:
    """The UUID in a text, of the driver's own class: in a fifth of the time. Raises ValueError."""
    return pgproto.UUID(text)


def _is_taken_back(driver: Any) -> bool:
    """Whether the pool has taken a connection back, which it does when that is lost."""
    return driver._con is None  # noqa: SLF001 - asyncpg's proxy has no other way to say so


def driver_url(url: str) -> str:
    """The address without the name of a driver, as asyncpg wants it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


async def _with_json(driver: Any) -> None:
    """Let a connection take and give values for JSON, not texts."""
    await driver.set_type_codec("jsonb", encoder=_json_text, decoder=orjson.loads, schema="pg_catalog")


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _is_outage(error: Exception) -> bool:
    """Whether the error is of a lost connection, a shutdown or a timeout, and not of a statement."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_OUTAGES)
    # A value that the driver cannot send is no outage either.
    return not isinstance(error, ValueError)
