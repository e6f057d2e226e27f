"""A replica in a process of its own, to be attacked."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.graphql.conftest import quiet_log  # noqa: F401 - a fixture of this folder too
from tests.hostile.health import Patient, examined
from tests.processes.commands import Program


@pytest_asyncio.fixture
async def patient(program: Program, database_url: str, tracker: None, worker: str) -> AsyncIterator[Patient]:
    """A replica that must be as well after the attack as before: see Patient.withstands and unharmed."""
    async with examined(program, database_url, worker) as replica:
        yield replica
