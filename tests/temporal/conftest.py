"""What the tests of the tracker and the codec begin with."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio
import temporalio.client

from app import doorbells, temporal
from app.settings import Settings
from resolvers.context import Services
from tests.client import Client
from tests.temporal.scene import Breakable, Scene


@pytest_asyncio.fixture(scope="session")
async def temporal_client(temporal_address: str) -> temporalio.client.Client:
    """Temporal's own client, as a program beside ours would use it."""
    return await temporal.connect(temporal_address, "default", lazy=False)


@pytest.fixture
def scene(
    services: Services,
    settings: Settings,
    alice: Client,
    temporal_client: temporalio.client.Client,
    worker: str,
) -> Scene:
    return Scene(services, settings, alice, temporal_client, worker)


@pytest_asyncio.fixture
async def breakable(services: Services, settings: Settings) -> AsyncIterator[Breakable]:
    """The test's database, for one tracker to lose."""
    database = Breakable(
        settings.database_url,
        pool_size=5,
        statement_timeout_seconds=5,
        announce=partial(doorbells.announce, services.bus),
    )
    yield database
    await database.close()
