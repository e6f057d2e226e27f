"""Whoever dies, and whenever: an execution runs once on Temporal, and its log tells it once and in order."""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowExecutionStatus

import app.worker
from tests import factories
from tests.client import Api
from tests.processes.commands import Program
from tests.processes.wire import Wire, wired
from tests.processes.world import ACTIVITY, ORDER, Row, World, until

QUICK = {"step_seconds": 0.01, "grace_seconds": 0.01}
# Longer than any of these tests: the API still waits for Temporal when it is killed.
PATIENT = {"TEMPORAL_TIMEOUT_SECONDS": "300"}
NOBODY = "127.0.0.1:9"
NEVER_STARTED = ["EXECUTION_CREATED", "EXECUTION_CANCELLED"]
FEED = "subscription { executionFeed { type } }"
SSE = {"Accept": "text/event-stream"}
SERVICE_RESTART = 1012
DRAIN_SECONDS = 10.0

Hold = Callable[[Api, World, Wire], Awaitable[None]]


@pytest_asyncio.fixture
async def world(database_url: str, temporal_address: str) -> AsyncIterator[World]:
    temporal = await Client.connect(temporal_address)
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
        yield World(pool, temporal, f"death-{secrets.token_hex(4)}")


@pytest_asyncio.fixture
async def worker(world: World) -> AsyncIterator[None]:
    """A worker on the test's own queue."""
    task = asyncio.create_task(app.worker.run(world.temporal, ["examples", "tests.samples"], world.queue))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def started(
    api: Api, world: World, input: Any, *, count: int = 1, workflow_type: str = "OrderWorkflow"
) -> list[dict[str, Any]]:
    """Started executions, as the API answers."""
    async with api.client("alice") as alice:
        workflow = await factories.workflow(alice, world.queue, workflow_type)
        return await asyncio.gather(*(factories.start(alice, workflow, input) for _ in range(count)))


async def order_on_its_way(api: Api, world: World) -> tuple["asyncio.Task[list[dict[str, Any]]]", Row]:
    """An order that the API has inserted, and whose start it waits for."""
    before = len(await world.rows())
    asking = asyncio.create_task(started(api, world, QUICK))

    async def inserted() -> bool:
        return len(await world.rows()) > before

    await until(inserted)
    row = await world.newest()
    assert (row.status, row.temporal_run_id, row.start_unsettled) == ("PENDING", None, True)
    assert not asking.done()
    return asking, row


async def cancelled(api: Api, row: Row) -> str:
    """The status that cancelling an execution answers."""
    async with api.client("alice") as alice:
        answer = await alice.data(factories.CANCEL, input={"id": row.id})
    return str(answer["cancelExecution"]["execution"]["status"])


async def watched(api: Api, row: Row) -> list[str]:
    """The types of an execution's events, to its end."""
    async with api.client("alice") as alice:
        return [event["type"] for event in await factories.events(alice, row.id)]


async def hold_requests(api: Api, world: World, wire: Wire) -> None:
    """From now on the API's requests do not reach Temporal."""
    wire.requests.clear()


async def hold_answers(api: Api, world: World, wire: Wire) -> None:
    """From now on the API's requests reach Temporal, whose answers do not come back."""
    # The API dials at its first call, and would wait for the answer to that.
    await started(api, world, QUICK)
    wire.answers.clear()


async def test_an_api_killed_before_temporal_heard_of_the_start(
    program: Program, world: World, worker: None, temporal_address: str
) -> None:
    async with (
        wired(temporal_address) as wire,
        program.serve(TEMPORAL_ADDRESS=wire.address, **PATIENT) as replica,
    ):
        await hold_requests(replica.api, world, wire)
        asking, row = await order_on_its_way(replica.api, world)

        await replica.killed()

        with pytest.raises(httpx.TransportError):
            await asking
    assert await world.state(row) is None

    async with program.serve() as replica, program.run("track"):
        assert await watched(replica.api, row) == ORDER
    await world.check_told_once(ORDER, 1)


async def test_an_api_killed_before_it_heard_of_the_start_it_made(
    program: Program, world: World, worker: None, temporal_address: str
) -> None:
    async with (
        wired(temporal_address) as wire,
        program.serve(TEMPORAL_ADDRESS=wire.address, **PATIENT) as replica,
    ):
        await hold_answers(replica.api, world, wire)
        asking, row = await order_on_its_way(replica.api, world)
        await world.until_on_temporal(row)

        await replica.killed()

        with pytest.raises(httpx.TransportError):
            await asking
    assert await world.newest() == row

    async with program.serve() as replica, program.run("track"):
        assert await watched(replica.api, row) == ORDER
        await world.until_completed()
    await world.check_told_once(ORDER, 2)


async def test_a_tracker_killed_in_mid_run_twice(program: Program, world: World, worker: None) -> None:
    count, steps = 5, 3
    types = ["EXECUTION_CREATED", "EXECUTION_STARTED", *["SIGNAL_RECEIVED", *ACTIVITY] * steps]

    async with program.serve() as replica, program.run("track") as tracker:
        await started(replica.api, world, steps, count=count, workflow_type="StepsWorkflow")
        await world.signal_all("go")
        recorded = count * (2 + len(["SIGNAL_RECEIVED", *ACTIVITY]))
        await world.until_recorded(recorded)
        await tracker.killed()

    await world.signal_all("go")
    await world.until_steps_taken(2)
    assert len(await world.log()) == recorded
    async with program.run("track") as tracker:
        await world.until_recorded(recorded + 1)
        await tracker.killed()

    await world.signal_all("go")
    await world.until_steps_taken(3)
    async with program.run("track"):
        await world.until_completed()
    await world.check_told_once([*types, "EXECUTION_COMPLETED"], count)


async def test_two_trackers_record_the_same_runs_once(program: Program, world: World, worker: None) -> None:
    async with program.serve() as replica, program.run("track"), program.run("track"):
        await world.until_tracked_by(2)
        await started(replica.api, world, QUICK, count=20)

        await world.until_completed()

    await world.check_told_once(ORDER, 20)


async def test_two_trackers_start_once_what_waits(program: Program, world: World, worker: None) -> None:
    async with program.serve(TEMPORAL_ADDRESS=NOBODY, TEMPORAL_TIMEOUT_SECONDS="0.5") as replica:
        waiting = await started(replica.api, world, QUICK, count=10)
    assert {execution["status"] for execution in waiting} == {"PENDING"}
    assert await world.runs() == {}

    async with program.run("track"), program.run("track"):
        await world.until_completed()

    await world.check_told_once(ORDER, 10)


async def test_a_start_cancelled_before_temporal_hears_of_it(
    program: Program, world: World, temporal_address: str
) -> None:
    async with (
        wired(temporal_address) as wire,
        program.serve(TEMPORAL_ADDRESS=wire.address, **PATIENT) as replica,
        program.run("track"),
    ):
        await hold_requests(replica.api, world, wire)
        asking, row = await order_on_its_way(replica.api, world)
        assert await cancelled(replica.api, row) == "CANCELLED"
        # The tracker has found nothing to end by the time that Temporal gets the request.
        await world.until_settled()

        wire.requests.set()

        [answer] = await asking
        assert answer["status"] == "CANCELLED"
        assert await watched(replica.api, row) == NEVER_STARTED
        assert await world.state(row) is WorkflowExecutionStatus.TERMINATED


async def test_a_start_cancelled_before_its_answer_comes(
    program: Program, world: World, temporal_address: str
) -> None:
    async with (
        wired(temporal_address) as wire,
        program.serve(TEMPORAL_ADDRESS=wire.address, **PATIENT) as replica,
    ):
        await hold_answers(replica.api, world, wire)
        asking, row = await order_on_its_way(replica.api, world)
        await world.until_on_temporal(row)
        assert await cancelled(replica.api, row) == "CANCELLED"

        wire.answers.set()

        [answer] = await asking
        assert answer["status"] == "CANCELLED"
        assert await watched(replica.api, row) == NEVER_STARTED
        assert await world.state(row) is WorkflowExecutionStatus.TERMINATED
        assert not (await world.newest()).start_unsettled


@pytest.mark.parametrize(
    ("hold", "left"), [(hold_requests, None), (hold_answers, WorkflowExecutionStatus.TERMINATED)]
)
async def test_an_api_killed_after_it_cancelled_a_start_on_its_way(
    program: Program,
    world: World,
    temporal_address: str,
    hold: Hold,
    left: WorkflowExecutionStatus | None,
) -> None:
    async with (
        wired(temporal_address) as wire,
        program.serve(TEMPORAL_ADDRESS=wire.address, **PATIENT) as replica,
    ):
        await hold(replica.api, world, wire)
        asking, row = await order_on_its_way(replica.api, world)
        if left is not None:
            await world.until_on_temporal(row)
        assert await cancelled(replica.api, row) == "CANCELLED"

        await replica.killed()

        with pytest.raises(httpx.TransportError):
            await asking
    async with program.run("track"):
        await world.until_settled()

    assert [entry.type for entry in await world.log(row)] == NEVER_STARTED
    assert await world.state(row) is left


OUTPUT = "query ($id: ID!) { execution(id: $id) { status output failure { message } } }"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"status": "COMPLETED", "output": {"paid": 7}}, {"output": {"paid": 7}, "failure": None}),
        (
            {"status": "FAILED", "message": "no more"},
            {"output": None, "failure": {"message": "Failed by hand: no more"}},
        ),
    ],
)
async def test_an_api_killed_after_it_ended_a_run_by_hand(
    program: Program, world: World, temporal_address: str, given: Any, left: Any
) -> None:
    async with (
        wired(temporal_address) as wire,
        program.serve(TEMPORAL_ADDRESS=wire.address, **PATIENT) as replica,
        replica.api.client("alice") as alice,
    ):
        await started(replica.api, world, 3, workflow_type="StepsWorkflow")
        row = await world.newest()
        wire.answers.clear()
        asking = asyncio.create_task(factories.asked(alice, factories.UPDATE, row.id, **given))

        async def ended() -> bool:
            return await world.state(row) is WorkflowExecutionStatus.TERMINATED

        await until(ended)
        await replica.killed()

        with pytest.raises(httpx.TransportError):
            await asking
    assert (await world.newest()).status == "RUNNING"

    async with program.serve() as replica, program.run("track"):
        last = f"EXECUTION_{given['status']}"
        assert await watched(replica.api, row) == ["EXECUTION_CREATED", "EXECUTION_STARTED", last]
        async with replica.api.client("alice") as alice:
            found = (await alice.data(OUTPUT, id=row.id))["execution"]
    assert found == {"status": given["status"], **left}


async def test_a_terminated_api_tells_its_subscribers_to_come_back(program: Program) -> None:
    # Nothing is to run into this limit.
    patient = {"SHUTDOWN_TIMEOUT_SECONDS": "300"}
    async with (
        program.serve(**patient) as replica,
        replica.api.client("alice") as alice,
        alice.socket() as socket,
        alice.http.stream("POST", replica.api.url, json={"query": FEED}, headers=SSE) as stream,
    ):
        await socket.subscribe("1", FEED)

        replica.send(signal.SIGTERM)

        code, _ = await socket.closed(DRAIN_SECONDS)
        assert code == SERVICE_RESTART
        # Broken off, which is no completion.
        assert "complete" not in (await stream.aread()).decode()
        assert await replica.ended(DRAIN_SECONDS) == 0


async def test_a_terminated_tracker_and_worker_finish_what_they_are_at(
    program: Program, world: World
) -> None:
    async with (
        program.serve() as replica,
        program.run("track") as tracker,
        program.run("worker", "examples", "--task-queue", world.queue) as worker,
    ):
        await world.until_tracked_by(1)
        await started(replica.api, world, {"step_seconds": 3})
        row = await world.newest()
        await until(lambda: is_at_work(world, row))

        for command in (worker, tracker):
            command.send(signal.SIGTERM)

        assert await tracker.ended(DRAIN_SECONDS) == 0
        assert await worker.ended(DRAIN_SECONDS) == 0
    assert [entry.type for entry in await world.log(row)][2:] == ["ACTIVITY_SCHEDULED"]
    assert [type for type, _ in await world.history(row)] == ACTIVITY


async def is_at_work(world: World, row: Row) -> bool:
    """Whether the tracker has recorded an activity that the worker is at."""
    described = await world.temporal.get_workflow_handle(row.temporal_workflow_id).describe()
    pending = described.raw_description.pending_activities
    return len(await world.log(row)) == len(ORDER[:3]) and any(
        each.HasField("last_started_time") for each in pending
    )


@pytest.mark.parametrize("command", [("track",), ("worker", "examples", "--task-queue", "none")])
async def test_a_command_terminated_while_temporal_does_not_answer_ends(
    program: Program, temporal_address: str, command: tuple[str, ...]
) -> None:
    async with wired(temporal_address) as wire:
        wire.answers.clear()
        async with program.run(*command, TEMPORAL_ADDRESS=wire.address) as process:
            await until(wire.dialled.is_set)

            process.send(signal.SIGTERM)

            assert await process.ended(DRAIN_SECONDS) == 0


async def test_a_worker_terminated_while_it_starts_ends(program: Program, world: World) -> None:
    async with program.run("worker", "examples", "--task-queue", world.queue) as worker:
        await until(lambda: "running OrderWorkflow" in worker.said())

        worker.send(signal.SIGTERM)

        assert await worker.ended(DRAIN_SECONDS) == 0
