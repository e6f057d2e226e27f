"""A replica in a process of its own, to be attacked, and one beside a user whom no attack may harm."""

from collections.abc import AsyncIterator, Callable

import pytest_asyncio

from tests.client import Client
from tests.graphql.conftest import quiet_log
from tests.hostile.health import Patient, examined
from tests.processes.commands import Program

__all__ = ["quiet_log"]

VIEWER = "{ viewer { id } }"


@pytest_asyncio.fixture
async def bystander(quiet_log: Callable[[], None], alice: Client) -> AsyncIterator[Client]:
    """A user with a socket, whom nothing that the test does may harm; and the log stays quiet."""
    async with alice.socket() as socket:
        yield alice
        await socket.subscribe("after", VIEWER)
        assert await socket.next("after") == {"viewer": {"id": "alice"}}
    await unharmed(alice)


async def unharmed(client: Client) -> None:
    """Check that the server answers a good request."""
    assert await client.data(VIEWER) == {"viewer": {"id": "alice"}}


@pytest_asyncio.fixture
async def patient(program: Program, database_url: str, tracker: None, worker: str) -> AsyncIterator[Patient]:
    """A replica that must be as well after the attack as before: see Patient.withstands and unharmed."""
    async with examined(program, database_url, worker) as replica:
        yield replica
