"""What the tests of the API share besides the servers."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app import servers
from app.errors import Unavailable
from app.server import settle_memory
from app.servers import Server
from app.settings import Settings
from app.store import workflows
from tests.store.statements import heard


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A busy machine is no outage of Temporal, and no input that takes long to check."""
    return settings.model_copy(update={"temporal_timeout_seconds": 10.0, "input_schema_timeout_seconds": 5.0})


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
    # What is left is no garbage of the next test's.
    settle_memory()
    logging.getLogger().removeHandler(loud)
    check()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Each SQL statement that this process sends. Ask for it before the replica."""
    sent: list[str] = []

    with heard(lambda _, statement: sent.append(statement.text)):
        yield sent


@pytest.fixture
def outages(monkeypatch: pytest.MonkeyPatch) -> list[Unavailable]:
    """What the next readings of workflows by their ids fail with, one by one."""
    left: list[Unavailable] = []
    by_ids = workflows.by_ids

    async def perhaps(*given: Any) -> Any:
        if left:
            raise left.pop()
        return await by_ids(*given)

    monkeypatch.setattr(workflows, "by_ids", perhaps)
    return left


@pytest_asyncio.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[Server]:
    """A Valkey of the test's own: it will be killed."""
    server = servers.valkey(tmp_path, durable=False)
    await server.start()
    yield server
    await server.kill()
