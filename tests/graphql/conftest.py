"""What the tests of the API share besides the servers."""

import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from app import servers
from app.servers import Server
from tests.store.statements import heard


class Loud(logging.Handler):
    """Keeps what a user's mistake must never cause: errors and tracebacks."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.records.append(logging.Formatter("%(levelname)s %(name)s: %(message)s").format(record))


@pytest.fixture
def quiet_log() -> Iterator[Callable[[], None]]:
    """Fails the test where an error or a traceback is logged; call it to check what came so far.

    Ask for it before the replica, so that it outlives that.
    """
    loud = Loud()

    def check() -> None:
        found, loud.records = loud.records, []
        assert found == []

    logging.getLogger().addHandler(loud)
    yield check
    # asyncio tells of failed tasks that nobody waited for when they are collected.
    gc.collect()
    logging.getLogger().removeHandler(loud)
    check()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Each SQL statement that this process sends. Ask for it before the replica."""
    sent: list[str] = []

    with heard(lambda _, statement: sent.append(statement.text)):
        yield sent


@pytest_asyncio.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[Server]:
    """A Valkey of the test's own: it will be killed."""
    server = servers.valkey(tmp_path, durable=False)
    await server.start()
    yield server
    await server.kill()
