"""The servers all tests share: embedded ones, or those the environment names."""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import hypothesis
import pytest
import pytest_asyncio
import temporalio.client
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # xdist has no types

import app.worker
from app import logs, main, migrate, temporal
from app.server import settle_memory
from app.servers import Servers, embedded
from app.settings import Settings
from resolvers.context import Services
from schema.executor import OperationExecutor
from tests.canary import Eavesdropper
from tests.client import SECRET, Api, Client, serving
from tests.processes.commands import NO_DEADLOCK, Program
from tests.twice import CheckedAnnounced, CheckedDirects, CheckedPlans

C = TypeVar("C")

# The same examples on every machine, however slow it is.
hypothesis.settings.register_profile("tests", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("tests")

# What shares something that takes long to make, or a port: by the beginnings of the ids of its tests.
SHARED = {
    "tests/faults/": "a stack to be broken",
    "tests/processes/test_cli.py": "a development stack",
    "tests/processes/test_dev.py": "a development stack",
    "tests/processes/test_first_run.py": "a development stack",
    "tests/processes/test_servers.py": "a development stack",
    "tests/store/test_plans.py": "some thousand rows",
    "tests/clients/test_apollo.py": "the TypeScript clients",
    "tests/clients/test_codegen.py": "the TypeScript clients",
    "tests/clients/test_persisted.py": "the TypeScript clients",
    "tests/clients/test_ariadne.py": "the Python client",
}


class Together(LoadScopeScheduling):  # type: ignore[misc]  # a base without types
    """Gives tests that share something to one of xdist's workers, and each of the others to any."""

    def _split_scope(self, nodeid: str) -> str:
        return next((what for start, what in SHARED.items() if nodeid.startswith(start)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Let the groups be made here: those of xdist's marks come to nothing, whose ids pytest does not take."""
    return Together(config, log)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Fails the test where another of xdist's workers has made the same."""
    run, directory = os.environ.get("PYTEST_XDIST_TESTRUNUID"), tmp_path_factory.getbasetemp().parent

    def note(what: str) -> None:
        assert what in SHARED.values()
        if run is not None:
            (directory / f"{what} of {run}").touch(exist_ok=False)

    return note


def pytest_collection_finish() -> None:
    """What is there before the first test is not looked through for garbage after each of them."""
    settle_memory()


@contextmanager
def checking(name: str, checked: C) -> Iterator[C]:
    """Have every executor use this under that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OperationExecutor, name, checked)
        yield checked


@pytest.fixture(scope="session", autouse=True)
def checked_plans() -> Iterator[CheckedPlans]:
    """Whatever a test's replica answers by a plan is compared with what graphql-core would answer."""
    with checking("plans", CheckedPlans()) as checked:
        yield checked


@pytest.fixture(scope="session", autouse=True)
def checked_directs() -> Iterator[CheckedDirects]:
    """What a plan makes of what a resolver returns is compared with what graphql-core would make of it."""
    with checking("directs", CheckedDirects()) as checked:
        yield checked


@pytest.fixture(scope="session", autouse=True)
def checked_announced() -> Iterator[CheckedAnnounced]:
    """What is told of an event as it was announced is compared with what graphql-core would tell."""
    with checking("announcements", CheckedAnnounced()) as checked:
        yield checked


@pytest.fixture(scope="session", autouse=True)
def eavesdropper() -> Iterator[None]:
    """Fails the run in which this process would have logged a token, the key, or the tests' canary."""
    listening = Eavesdropper()
    logging.getLogger().addHandler(listening)
    for name in logs.OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    yield
    assert listening.heard == []


@pytest_asyncio.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    given = {name: os.environ.get(name.upper()) for name in ("database_url", "redis_url", "temporal_address")}
    async with embedded(tmp_path_factory.mktemp("servers"), durable=False, **given) as started:
        yield started


@pytest.fixture(scope="session")
def server_database_url(servers: Servers) -> str:
    return servers.database_url


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    return servers.redis_url


@pytest.fixture(scope="session")
def temporal_address(servers: Servers) -> str:
    return servers.temporal_address


@pytest_asyncio.fixture(scope="session")
async def temporal_client(temporal_address: str) -> temporalio.client.Client:
    """Temporal's own client, as a program beside ours would use it."""
    return await temporal.connect(temporal_address, "default", lazy=False)


@pytest_asyncio.fixture(scope="session")
async def template(server_database_url: str) -> AsyncIterator[str]:
    """A migrated database, from which each test's own is copied; its name."""
    async with copied(server_database_url) as url:
        await asyncio.to_thread(migrate.upgrade, url)
        yield database_of(url)


@pytest_asyncio.fixture
async def database_url(server_database_url: str, template: str) -> AsyncIterator[str]:
    """A fresh, migrated database of this test's own."""
    async with copied(server_database_url, template) as url:
        yield url


@pytest.fixture
def settings(database_url: str, redis_url: str, temporal_address: str) -> Settings:
    """The settings of this test's processes; alter them with `settings.model_copy(update=...)`."""
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        # Each test has its own channels, as it has its own database.
        redis_prefix=f"test-{secrets.token_hex(4)}",
        temporal_address=temporal_address,
        temporal_namespace="default",
        jwt_secret=SecretStr(SECRET),
        tracker_poll_seconds=0.2,
        start_grace_seconds=1.0,
        hub_backstop_seconds=1.0,
        # A busy machine is no outage.
        redis_wait_seconds=2.0,
    )


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """The settings of this test, as the environment gives them to a process."""
    return {name.upper(): _plain(getattr(settings, name)) for name in settings.model_fields_set}


@pytest.fixture
def program(tmp_path: Path, environment: dict[str, str]) -> Program:
    """The command line with this test's servers and settings."""
    return Program(tmp_path, environment)


@pytest_asyncio.fixture
async def services(settings: Settings) -> AsyncIterator[Services]:
    """The parts of one process, without a server or a tracker."""
    async with main.services(settings) as parts:
        yield parts


@pytest_asyncio.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """One API replica, listening on a port of its own."""
    async with serving(settings) as replica:
        yield replica


@pytest_asyncio.fixture
async def tracker(settings: Settings) -> AsyncIterator[None]:
    """One tracker, in this process."""
    task = asyncio.create_task(main.track(settings))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest_asyncio.fixture(scope="session")
async def worker(temporal_address: str) -> AsyncIterator[str]:
    """A worker for the examples and the samples; its task queue."""
    queue = f"tests-{secrets.token_hex(4)}"
    client = await temporal.connect(temporal_address, "default", lazy=False)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in NO_DEADLOCK.items():
            patch.setenv(name, value)
        task = asyncio.create_task(app.worker.run(client, ["examples", "tests.samples"], queue))
        yield queue
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest_asyncio.fixture
async def alice(api: Api) -> AsyncIterator[Client]:
    """The user whom the tests are about."""
    async with api.client("alice") as client:
        yield client


@pytest_asyncio.fixture
async def bob(api: Api) -> AsyncIterator[Client]:
    """Another user."""
    async with api.client("bob") as client:
        yield client


async def _administer(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def copied(server_url: str, template: str = "template1") -> AsyncIterator[str]:
    """The address of a copy of a database, to which nobody is connected; the copy is dropped in the end."""
    name = f"test_{secrets.token_hex(6)}"
    await _administer(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    await _administer(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def database_of(url: str) -> str:
    """The name of the database that an address leads to."""
    name = make_url(url).database
    assert name is not None
    return name


def _plain(value: Any) -> str:
    return str(value.get_secret_value() if isinstance(value, SecretStr) else value)
