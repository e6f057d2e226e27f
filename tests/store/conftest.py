"""A database of the test's own, and what was announced of it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.db import Database
from app.deliveries import Delivery
from tests.store.rows import Rows


@pytest.fixture
def announced() -> list[Delivery]:
    """What the database has announced so far."""
    return []


@pytest_asyncio.fixture
async def db(database_url: str, announced: list[Delivery]) -> AsyncIterator[Database]:
    database = Database(database_url, pool_size=25, statement_timeout_seconds=10.0, announce=announced.extend)
    yield database
    await database.close()


@pytest.fixture
def rows(db: Database) -> Rows:
    """Writes what a test begins with."""
    return Rows(db)
