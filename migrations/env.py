"""Alembic's entry: migrates over asyncpg."""

import asyncio

from alembic import context
from sqlalchemy import Connection, make_url, pool
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from app.migrate import MigrationError
from app.tables import METADATA


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=METADATA, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


async def _connection(url: str) -> AsyncConnection:
    try:
        address = make_url(url).set(drivername="postgresql+asyncpg")
        return await create_async_engine(address, poolclass=pool.NullPool).connect()
    except (OSError, SQLAlchemyError, ValueError) as error:
        raise MigrationError(f"the database cannot be reached: {_root(error)}") from error


def _root(error: BaseException) -> BaseException:
    """What Postgres said, inside the drivers' wrappings."""
    return error if error.__cause__ is None else _root(error.__cause__)


async def _run(url: str) -> None:
    connection = await _connection(url)
    try:
        await connection.run_sync(_migrate)
    finally:
        await connection.close()


if context.is_offline_mode():
    context.configure(url="postgresql://", target_metadata=METADATA, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    _migrate(given)
else:
    asyncio.run(_run(context.config.get_main_option("database_url") or ""))
