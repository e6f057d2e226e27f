"""A real Apollo Client: it starts optimistically, reads pages, follows the feed, and outlives the server."""

import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from temporalio.client import Client as Temporal

from app import auth
from app.servers import free_port
from app.store import events, executions
from app.tables import ExecutionStatus
from resolvers.context import Services
from tests import factories
from tests.client import SECRET, Api, Client
from tests.clients.frontend import Frontend, running
from tests.eventually import eventually
from tests.processes.commands import PATIENCE_SECONDS, Program
from tests.store.rows import ALICE

ROWS = "query ($first: Int) { executions(first: $first) { totalCount nodes { id status version } } }"
LOG = """
query ($after: String) {
  executionFeed(first: 100, after: $after) {
    nodes { cursor type execution { id } }
    pageInfo { hasNextPage endCursor }
  }
}
"""


@dataclass(frozen=True)
class World:
    """Where the frontend's executions run."""

    worker: str
    temporal: Temporal

    async def approve(self, execution: dict[str, Any]) -> None:
        """Let a waiting execution go on, past the API."""
        handle = self.temporal.get_workflow_handle(execution["temporalWorkflowId"])
        await handle.signal("approve")


@pytest.fixture
def world(worker: str, tracker: None, temporal_client: Temporal) -> World:
    return World(worker, temporal_client)


@pytest_asyncio.fixture
async def frontend(build: Path, api: Api) -> AsyncIterator[Frontend]:
    """Alice's frontend."""
    async with running(build, api, auth.mint(SECRET, "alice")) as process:
        yield process


async def rows(client: Client, first: int = 10) -> list[dict[str, Any]]:
    """The newest executions, as the API lists them."""
    found: list[dict[str, Any]] = (await client.data(ROWS, first=first))["executions"]["nodes"]
    return found


async def log(client: Client) -> list[tuple[str, str, str]]:
    """The cursor, type and execution of each event that ever was, by plain query."""
    events, more, after = [], True, None
    while more:
        page = (await client.data(LOG, after=after))["executionFeed"]
        events += [(each["cursor"], each["type"], each["execution"]["id"]) for each in page["nodes"]]
        more, after = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
    return events


def delivered(frontend: Frontend) -> list[tuple[str, str, str]]:
    """The same of each event that the frontend got from its subscription."""
    return [(line["event"], line["type"], line["id"]) for line in frontend.shown if "event" in line]


async def whole_log(client: Client, frontend: Frontend) -> list[tuple[str, str, str]]:
    """The log of executions that are over, once its last event has come: an event may show a later state."""
    whole = await log(client)
    await frontend.until(lambda: delivered(frontend)[-1:] == whole[-1:])
    return whole


async def until_completed(services: Services, execution: dict[str, Any]) -> None:
    """Wait until the log says so, with no server to ask."""

    async def completed() -> bool:
        async with services.db.read() as connection:
            record = await executions.get(connection, ALICE, UUID(execution["id"]))
        return record.status is ExecutionStatus.COMPLETED

    await eventually(completed, PATIENCE_SECONDS)


async def test_a_start_is_shown_at_once_and_replaced_by_the_real_one(
    frontend: Frontend, alice: Client, world: World
) -> None:
    workflow = await factories.workflow(alice, world.worker, "GreetingWorkflow")
    before = (await factories.start(alice, workflow, "Ada"))["id"]
    await frontend.tell("watch")
    await frontend.until(lambda: frontend.lists() == [[before]])

    # The feed is quicker than the answer.
    await frontend.tell("hold")
    await frontend.tell("start", workflow={"id": workflow, "name": "GreetingWorkflow"}, input="Grace")
    await frontend.until(lambda: "EXECUTION_STARTED" in frontend.all("type"))
    await frontend.tell("release")
    await frontend.until(lambda: bool(frontend.all("started")))

    [started] = frontend.all("started")
    assert started["__typename"] == "StartExecutionSuccess"
    real = started["execution"]["id"]
    first, [optimistic, second], last = frontend.lists()
    assert optimistic.startswith("optimistic-")
    assert (first, second, last) == ([before], before, [real, before])
    assert frontend.all("total")[-1] == 2


async def test_a_refused_start_is_taken_back(
    frontend: Frontend, alice: Client, services: Services, world: World
) -> None:
    workflow = await factories.workflow(alice, world.worker, "GreetingWorkflow")
    before = (await factories.start(alice, workflow, "Ada"))["id"]
    await factories.archive(services, workflow)
    await frontend.tell("watch")
    await frontend.until(lambda: frontend.lists() == [[before]])

    await frontend.tell("start", workflow={"id": workflow, "name": "GreetingWorkflow"}, input="Grace")
    await frontend.until(lambda: bool(frontend.all("started")) and len(frontend.lists()) == 3)

    [refused] = frontend.all("started")
    assert refused["__typename"] == "InvalidInputError", refused
    assert [len(ids) for ids in frontend.lists()] == [1, 2, 1]


async def test_three_pages_become_one_list(
    frontend: Frontend, alice: Client, services: Services, world: World
) -> None:
    workflow = await factories.workflow(alice, world.worker)
    ids = await factories.recorded(services, "alice", workflow, 25)

    await frontend.tell("watch")
    await frontend.until(lambda: len(frontend.rows()) == 10)
    await frontend.tell("more")
    await frontend.until(lambda: len(frontend.rows()) == 20)
    await frontend.tell("more")
    await frontend.until(lambda: len(frontend.rows()) == 25)

    whole = [row["id"] for row in await rows(alice, 100)]
    assert sorted(whole) == sorted(ids)
    assert frontend.lists() == [whole[:10], whole[:20], whole]
    assert [line["more"] for line in frontend.shown if "list" in line][-3:] == [True, True, False]


async def test_the_list_is_live_from_its_feed_cursor_on(
    frontend: Frontend, alice: Client, world: World
) -> None:
    waiting = await factories.waiting(alice, world.worker)
    before = await log(alice)
    await frontend.tell("watch")
    await frontend.until(lambda: frontend.statuses() == ["RUNNING"])

    await world.approve(waiting)
    quick = [await factories.paid(alice, world.worker) for _ in range(3)]
    await frontend.until(lambda: frontend.statuses() == ["COMPLETED"] * 4)

    assert frontend.rows() == await rows(alice)
    assert [row["id"] for row in frontend.rows()] == [each["id"] for each in [*quick[::-1], waiting]]
    assert (await whole_log(alice, frontend))[len(before) :] == delivered(frontend)
    assert frontend.all("total")[-1] == 4


async def test_an_answer_that_events_have_overtaken_changes_nothing(
    frontend: Frontend,
    alice: Client,
    services: Services,
    world: World,
) -> None:
    waiting = await factories.waiting(alice, world.worker)
    workflow = await factories.workflow(alice, world.worker, "PaymentWorkflow")
    await factories.recorded(services, "alice", workflow, 10)
    await frontend.tell("watch")
    await frontend.until(lambda: len(frontend.rows()) == 10)

    await frontend.tell("hold")
    await frontend.tell("more")
    await frontend.tell(
        "start", workflow={"id": workflow, "name": "Payment"}, input={"succeed_on_attempt": 1}
    )
    await frontend.until(lambda: len(frontend.all("held")) == 2)
    await world.approve(waiting)
    await frontend.until(lambda: [each[1] for each in delivered(frontend)].count("EXECUTION_COMPLETED") == 2)
    await frontend.tell("release")
    await frontend.until(lambda: bool(frontend.all("started")) and len(frontend.rows()) == 12)

    assert frontend.rows() == await rows(alice, 100)
    assert [frontend.statuses()[place] for place in (0, -1)] == ["COMPLETED"] * 2


async def test_a_list_whose_cursor_has_expired_is_read_anew(
    frontend: Frontend, alice: Client, services: Services, world: World
) -> None:
    await frontend.tell("hold")
    await frontend.tell("watch")
    await frontend.until(lambda: bool(frontend.all("held")))
    missed = await factories.paid(alice, world.worker)
    await factories.events(alice, missed["id"])
    async with services.db.write() as tx:
        await events.prune(tx, "alice", datetime.now(UTC) + timedelta(days=1), 100)

    await frontend.tell("release")
    await frontend.until(lambda: frontend.lists() == [[], [missed["id"]]])

    await factories.paid(alice, world.worker)
    await frontend.until(lambda: frontend.statuses() == ["COMPLETED"] * 2)
    assert frontend.rows() == await rows(alice)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_the_feed_goes_on_when_the_server_is_back(
    build: Path, program: Program, services: Services, world: World, ending: signal.Signals
) -> None:
    port = free_port()
    async with running(build, Api(port), auth.mint(SECRET, "alice")) as frontend:
        async with program.serve(port) as replica, replica.api.client("alice") as alice:
            await frontend.tell("watch")
            await frontend.until(lambda: frontend.lists() == [[]])
            execution = await factories.waiting(alice, world.worker)
            await frontend.until(lambda: frontend.statuses() == ["RUNNING"])
            replica.send(ending)
            await replica.ended()
        await world.approve(execution)
        await until_completed(services, execution)

        async with program.serve(port) as replica, replica.api.client("alice") as alice:
            await frontend.until(lambda: frontend.statuses() == ["COMPLETED"])
            await factories.paid(alice, world.worker)
            await frontend.until(lambda: frontend.statuses() == ["COMPLETED"] * 2)

            assert frontend.rows() == await rows(alice)
            assert await whole_log(alice, frontend) == delivered(frontend)


async def test_the_feed_goes_on_with_a_new_token_when_the_old_one_has_expired(
    build: Path, api: Api, alice: Client, world: World
) -> None:
    token, short = auth.mint(SECRET, "alice"), auth.mint(SECRET, "alice", hours=3 / 3600)
    async with running(build, api, token, short, token) as frontend:
        await frontend.tell("watch")
        await frontend.until(lambda: frontend.lists() == [[]])
        # The third is asked for when the socket is closed that was opened with the second.
        await frontend.until(lambda: frontend.all("tokens") == [3, 2, 1])
        await factories.paid(alice, world.worker)
        await frontend.until(lambda: frontend.statuses() == ["COMPLETED"])

        assert await whole_log(alice, frontend) == delivered(frontend)
