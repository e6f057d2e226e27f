"""The command line, the servers that its processes talk to, and one whole development stack."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.processes.commands import Program
from tests.processes.stack import Stack, developing


@contextmanager
def reachable() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tgql-") as directory:
        os.chmod(directory, 0o711)
        yield Path(directory).resolve()


@pytest.fixture
def data() -> Iterator[Path]:
    """A directory which Postgres's user reaches even if we are root, unlike pytest's own."""
    with reachable() as directory:
        yield directory


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def dev(
    tmp_path_factory: pytest.TempPathFactory, made_once: Callable[[str], None]
) -> AsyncIterator[Stack]:
    """A whole development stack with servers of its own, for the tests that leave it as it is."""
    made_once("a development stack")
    with reachable() as data:
        async with developing(Program(tmp_path_factory.mktemp("dev"), {}), data / ".data") as stack:
            yield stack


@pytest.fixture
def bare(tmp_path: Path) -> Program:
    """The command line without any setting."""
    return Program(tmp_path, {})
