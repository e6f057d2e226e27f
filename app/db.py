"""The engine and its two scopes; the only place that commits."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from app.errors import Unavailable
from app.records import Delivery

Connection = AsyncConnection
Announce = Callable[[Sequence[Delivery]], None]


@dataclass(frozen=True)
class Transaction:
    """A write in progress and the deliveries to announce once it is committed."""

    connection: AsyncConnection
    deliveries: list[Delivery] = field(default_factory=list)


class Database:
    """Owns the connection pool, which a caller waits `wait_seconds` for at most.

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
        self._engine = create_async_engine(
            async_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=wait_seconds,
            pool_pre_ping=True,
            json_serializer=_json_text,
            json_deserializer=orjson.loads,
            # A statement's values are its user's: they belong into no log.
            hide_parameters=True,
            connect_args={
                "timeout": 5,
                "server_settings": {
                    "statement_timeout": str(int(statement_timeout_seconds * 1000)),
                    "application_name": "temporal-graphql",
                    # Postgres' 4 is for discs that turn: it reads too much there to find little.
                    "random_page_cost": "1.1",
                    # A plan made for all filters alike is wrong for most: rare and common need their own.
                    "plan_cache_mode": "force_custom_plan",
                },
            },
        )
        # One SELECT needs no BEGIN and no ROLLBACK around it.
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading, each statement by itself; raises Unavailable when Postgres is."""
        with _translated():
            async with self._reader.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """One transaction: committed on leaving and then announced, or undone; raises Unavailable."""
        with _translated():
            async with self._engine.begin() as connection:
                transaction = Transaction(connection)
                yield transaction
        if transaction.deliveries:
            self._announce(transaction.deliveries)

    async def ping(self) -> None:
        """Raise Unavailable unless Postgres answers."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self._engine.dispose()


def async_url(url: str) -> str:
    """The address with the asyncpg driver named, as SQLAlchemy wants it."""
    return make_url(url).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (IntegrityError, Unavailable):
        raise
    except DBAPIError as error:
        if _is_outage(error):
            raise Unavailable("The database does not answer.", retry_after_seconds=1) from error
        raise
    except (OSError, TimeoutError, PoolTimeoutError) as error:
        raise Unavailable("The database does not answer.", retry_after_seconds=1) from error


def _is_outage(error: DBAPIError) -> bool:
    """Whether the error is a lost connection, a shutdown or a timeout (SQLSTATE 08, 57, 53)."""
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state[:2] in {"08", "57", "53"}
