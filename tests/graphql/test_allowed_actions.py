"""Execution.allowedActions: what it says is what the mutations then do, in every status."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from app.servers import free_port
from app.settings import Settings
from app.tables import ExecutionAction, ExecutionStatus
from tests import factories
from tests.client import Api, Client, serving
from tests.factories import CANCEL, SIGNAL, TERMINATE, UPDATE, asked

ALLOWED = "query ($id: ID!) { execution(id: $id) { status allowedActions } }"

# How each action is asked for.
ASKED: dict[ExecutionAction, tuple[str, dict[str, Any]]] = {
    ExecutionAction.PAUSE: (UPDATE, {"status": "PAUSED"}),
    ExecutionAction.RESUME: (UPDATE, {"status": "RUNNING"}),
    ExecutionAction.CANCEL: (CANCEL, {}),
    ExecutionAction.TERMINATE: (TERMINATE, {}),
    ExecutionAction.COMPLETE: (UPDATE, {"status": "COMPLETED", "output": 1}),
    ExecutionAction.FAIL: (UPDATE, {"status": "FAILED"}),
    ExecutionAction.SIGNAL: (SIGNAL, {"signal": "go"}),
}
# How an execution comes into each status, from RUNNING or, without Temporal, from PENDING.
REACHED: dict[ExecutionStatus, tuple[str, dict[str, Any]] | None] = {
    ExecutionStatus.PENDING: None,
    ExecutionStatus.RUNNING: None,
    ExecutionStatus.PAUSED: ASKED[ExecutionAction.PAUSE],
    ExecutionStatus.COMPLETED: ASKED[ExecutionAction.COMPLETE],
    ExecutionStatus.FAILED: ASKED[ExecutionAction.TERMINATE],
    ExecutionStatus.CANCELLED: ASKED[ExecutionAction.CANCEL],
}
WITHOUT_TEMPORAL = {ExecutionStatus.PENDING, ExecutionStatus.CANCELLED}

Make = Callable[[ExecutionStatus], Awaitable[tuple[Client, str]]]


@pytest_asyncio.fixture
async def make(settings: Settings, alice: Client) -> AsyncIterator[Make]:
    """Makes an execution of a status; whom to ask about it, and its id."""
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})
    async with serving(down) as api, api.client("alice") as there:

        async def made(status: ExecutionStatus) -> tuple[Client, str]:
            client = there if status in WITHOUT_TEMPORAL else alice
            id = str((await factories.stuck(client))["id"])
            if (way := REACHED[status]) is not None:
                answer = await asked(client, way[0], id, **way[1])
                assert answer["execution"]["status"] == status
            return client, id

        yield made


def test_no_action_is_left_out() -> None:
    assert set(ASKED) == set(ExecutionAction)


@pytest.mark.parametrize("status", ExecutionStatus)
async def test_what_is_allowed_is_accepted_and_nothing_else(make: Make, status: ExecutionStatus) -> None:
    for action, (mutation, given) in ASKED.items():
        client, id = await make(status)
        told = (await client.data(ALLOWED, id=id))["execution"]

        answer = await asked(client, mutation, id, **given)

        assert told["status"] == status
        if action in told["allowedActions"]:
            assert answer["__typename"].endswith("Success"), (status, action, answer)
        else:
            assert answer["__typename"] == "InvalidTransitionError", (status, action, answer)
            assert (answer["from"], answer["allowedActions"]) == (status, told["allowedActions"])


async def test_who_may_not_write_is_allowed_nothing(alice: Client, api: Api) -> None:
    started = await factories.stuck(alice)

    async with api.client("alice", "executions:read") as reader:
        told = (await reader.data(ALLOWED, id=started["id"]))["execution"]

    assert told == {"status": "RUNNING", "allowedActions": []}
    await asked(alice, TERMINATE, started["id"])
