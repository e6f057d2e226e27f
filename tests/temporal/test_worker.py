"""Finding and running workflows that know nothing of this project."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError

from app.worker import Definitions, WorkerError, discover, run
from examples.report import ReportInput, ReportWorkflow, discard_draft, write_section
from tests.samples import greeting

SECONDS = 20

ACTIVITIES = """
from temporalio import activity

@activity.defn
def shout(text: str) -> str:
    return text.upper()

class Counter:
    @activity.defn
    def count(self) -> int:
        return 1
"""

WORKFLOW = """
from datetime import timedelta
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from {package} import deeds

@workflow.defn(name="{package}")
class Shouting:
    @workflow.run
    async def run(self, text: str) -> str:
        return await workflow.execute_activity(
            deeds.shout, text, start_to_close_timeout=timedelta(seconds=10)
        )

class Undecorated(Shouting):
    pass
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(temporal_address: str) -> Client:
    return await Client.connect(temporal_address)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's package in the current directory, which is not on sys.path."""
    name = f"shop_{uuid4().hex}"
    files = {
        "__init__": "",
        "__main__": "raise SystemExit('a program was run')",
        "deeds": ACTIVITIES,
        "flows": WORKFLOW.format(package=name),
    }
    (tmp_path / name).mkdir()
    for part, text in files.items():
        (tmp_path / name / f"{part}.py").write_text(text)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    return name


@asynccontextmanager
async def running(client: Client, modules: list[str], task_queue: str) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(run(client, modules, task_queue))
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def event_seen(handle: WorkflowHandle[Any, Any], attributes: str) -> HistoryEvent:
    async with asyncio.timeout(SECONDS):
        async for event in handle.fetch_history_events(wait_new_event=True):
            if event.HasField(attributes):  # type: ignore[arg-type]  # the stub lists the names as literals
                return event
    raise AssertionError(f"the run ended without {attributes}")


def test_discover_finds_what_a_module_defines() -> None:
    assert discover("examples.report") == Definitions(
        workflows=(ReportWorkflow,), activities=(write_section, discard_draft)
    )


def test_discover_walks_a_package() -> None:
    found = discover("examples")

    assert {workflow.__name__ for workflow in found.workflows} == {
        "OrderWorkflow",
        "PaymentWorkflow",
        "ReportWorkflow",
    }
    assert len(found.activities) == len(set(found.activities)) == 7


def test_discover_counts_what_a_module_imported(package: str) -> None:
    found = discover(f"{package}.flows")

    assert [workflow.__name__ for workflow in found.workflows] == ["Shouting"]
    assert [activity.__name__ for activity in found.activities] == ["shout"]


def test_discover_runs_no_program_of_a_package(package: str) -> None:
    assert len(discover(package).workflows) == 1


@pytest.mark.parametrize("name", ["no.such.module", ".relative", "examples/order.py"])
def test_discover_of_an_unknown_module(name: str) -> None:
    with pytest.raises(WorkerError, match=name):
        discover(name)


def test_discover_names_what_a_module_could_not_import(tmp_path: Path, package: str) -> None:
    (tmp_path / package / "broken.py").write_text("import no_such_library")

    with pytest.raises(WorkerError, match=rf"{package}\.broken: No module named 'no_such_library'"):
        discover(package)


def test_discover_of_a_module_with_nothing_to_run() -> None:
    with pytest.raises(WorkerError, match=r"module tests\.samples\.nothing"):
        discover("tests.samples.nothing")


def test_discover_of_activities_that_need_an_instance(tmp_path: Path, package: str) -> None:
    (tmp_path / package / "methods.py").write_text(ACTIVITIES.replace("@activity.defn\ndef", "def"))

    with pytest.raises(WorkerError, match="an activity that is a method"):
        discover(f"{package}.methods")


def test_discover_of_a_bound_activity_method(tmp_path: Path, package: str) -> None:
    (tmp_path / package / "methods.py").write_text(f"{ACTIVITIES}\ncount = Counter().count")

    found = discover(f"{package}.methods")

    assert [activity.__name__ for activity in found.activities] == ["shout", "count"]


def test_discover_of_an_empty_name() -> None:
    with pytest.raises(WorkerError, match="'' is not the name of a module"):
        discover("")


async def test_run_of_nothing(client: Client) -> None:
    with pytest.raises(WorkerError):
        await run(client, [], "queue")


async def test_run_of_one_name_defined_twice(client: Client, tmp_path: Path, package: str) -> None:
    (tmp_path / package / "again.py").write_text(ACTIVITIES)

    with pytest.raises(WorkerError, match="More than one activity named shout"):
        await run(client, [package], "queue")


async def test_run_serves_a_package_with_a_sync_activity(client: Client, package: str) -> None:
    async with running(client, [package], package), asyncio.timeout(SECONDS):
        answer = await client.execute_workflow(package, "hello", id=uuid4().hex, task_queue=package)

    assert answer == "HELLO"


async def test_run_serves_a_program_not_written_by_us(client: Client) -> None:
    async with running(client, ["tests.samples.greeting"], greeting.TASK_QUEUE), asyncio.timeout(SECONDS):
        handle = await client.start_workflow(
            greeting.GreetingWorkflow.run, "Ada", id=uuid4().hex, task_queue=greeting.TASK_QUEUE
        )
        await handle.signal(greeting.GreetingWorkflow.approve)

        assert await handle.result() == ["Hello, Ada!", "Goodbye, Ada!"]


async def test_the_program_not_written_by_us_can_be_cancelled(client: Client) -> None:
    async with running(client, ["tests.samples.greeting"], greeting.TASK_QUEUE), asyncio.timeout(SECONDS):
        handle = await client.start_workflow(
            greeting.GreetingWorkflow.run, "Ada", id=uuid4().hex, task_queue=greeting.TASK_QUEUE
        )
        await event_seen(handle, "workflow_task_completed_event_attributes")
        await handle.cancel()

        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
    assert isinstance(failure.value.cause, CancelledError)


async def test_cancelling_run_lets_an_activity_finish_and_another_run_goes_on(client: Client) -> None:
    queue = uuid4().hex
    given = ReportInput(rows=4, sections=2, seconds=1)
    async with asyncio.timeout(SECONDS):
        async with running(client, ["examples.report"], queue) as first:
            handle = await client.start_workflow(ReportWorkflow.run, given, id=uuid4().hex, task_queue=queue)
            await event_seen(handle, "activity_task_scheduled_event_attributes")
        assert first.cancelled()

        async with running(client, ["examples.report"], queue):
            report = await handle.result()

    assert [section.attempts for section in report.sections] == [1, 1]
