"""queryExecution: what the workflow's code answers, and why it does not."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest
import temporalio.client
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest

import app.worker
from app.servers import free_port
from app.settings import Settings
from app.temporal import NO_ANSWER
from tests import factories
from tests.client import Api, Client, serving
from tests.eventually import eventually
from tests.factories import SIGNAL, TERMINATE, UPDATE, asked
from tests.silence import silent_server
from tests.temporal.scene import workflow_id

QUERY = """
query ($id: ID!, $query: String!, $arguments: [JSON!]) {
  queryExecution(id: $id, query: $query, arguments: $arguments)
}
"""

PAUSED = "This execution is paused, and Temporal asks no paused workflow: resume it first."


async def answering(client: Client, queue: str) -> str:
    workflow = await factories.workflow(client, queue, "AnsweringWorkflow")
    return str((await factories.start(client, workflow))["id"])


async def query(client: Client, id: str, name: str, *arguments: Any) -> Any:
    given = {"arguments": list(arguments)} if arguments else {}
    return (await client.data(QUERY, id=id, query=name, **given))["queryExecution"]


async def refusal(client: Client, id: str, name: str = "add", *arguments: Any) -> tuple[str, str]:
    """The code and the message with which a query fails."""
    error = await client.error(QUERY, id=id, query=name, arguments=list(arguments))
    return error["extensions"]["code"], error["message"]


async def test_the_workflow_answers(alice: Client, worker: str) -> None:
    id = await answering(alice, worker)

    assert await query(alice, id, "add", 2, 40) == {"sum": 42}
    assert await query(alice, id, "nothing") is None
    await asked(alice, TERMINATE, id)


async def test_one_that_has_ended_answers_while_a_worker_runs(
    alice: Client, worker: str, tracker: None
) -> None:
    id = await answering(alice, worker)
    await asked(alice, SIGNAL, id, signal="finish")
    await factories.events(alice, id)

    assert await query(alice, id, "add", 1, 2) == {"sum": 3}


async def test_a_query_that_the_workflow_does_not_have_is_named_with_those_it_has(
    alice: Client, worker: str
) -> None:
    id = await answering(alice, worker)

    error = await alice.error(QUERY, id=id, query="multiply")

    assert error["extensions"]["code"] == "INVALID_INPUT"
    (issue,) = error["extensions"]["issues"]
    assert issue["path"] == "/query"
    assert "known queries: [" in issue["message"]
    assert "add broken nothing slow" in issue["message"]
    await asked(alice, TERMINATE, id)


async def test_a_handler_that_fails_tells_why(alice: Client, worker: str) -> None:
    id = await answering(alice, worker)

    assert await refusal(alice, id, "broken") == (
        "INVALID_INPUT",
        "/query: is not answered by the workflow: no answer to this",
    )
    code, message = await refusal(alice, id, "add", 1)
    assert (code, "is not answered by the workflow" in message) == ("INVALID_INPUT", True)
    await asked(alice, TERMINATE, id)


async def test_a_paused_one_is_not_asked_and_says_what_to_do(alice: Client, worker: str) -> None:
    id = await answering(alice, worker)
    # While its first task is under way Temporal keeps back that it was paused, and no tracker looks later.
    await query(alice, id, "nothing")
    await asked(alice, UPDATE, id, status="PAUSED")

    code, message = await refusal(alice, id, "add", 1, 2)

    assert (code, message) == ("NOT_SUPPORTED", PAUSED)
    await asked(alice, UPDATE, id, status="RUNNING")
    assert await query(alice, id, "add", 1, 2) == {"sum": 3}
    await asked(alice, TERMINATE, id)


async def test_where_no_worker_polls_the_answer_says_so_at_once(alice: Client) -> None:
    started = await factories.stuck(alice)
    began = time.perf_counter()

    code, message = await refusal(alice, started["id"])

    assert code == "UNAVAILABLE"
    assert message.startswith("No worker polls the task queue 'nobody-")
    assert time.perf_counter() - began < 2.5
    await asked(alice, TERMINATE, started["id"])


async def test_one_that_waits_for_its_first_step_cannot_answer_yet(alice: Client, worker: str) -> None:
    workflow = await factories.workflow(alice, worker, "AnsweringWorkflow")
    answer = await alice.data(factories.START, input={"workflowId": workflow, "startDelay": 3_600})
    id = answer["startExecution"]["execution"]["id"]

    assert await refusal(alice, id) == (
        "UNAVAILABLE",
        "The workflow has not taken its first step yet: it cannot answer. Ask again in a moment.",
    )
    await asked(alice, TERMINATE, id)


async def test_a_worker_that_has_gone_is_what_the_answer_names(
    settings: Settings, temporal_client: temporalio.client.Client
) -> None:
    queue = f"leaving-{uuid4().hex}"
    hasty = settings.model_copy(update={"temporal_timeout_seconds": 3.0})
    async with serving(hasty) as api, api.client("alice") as alice:
        working = asyncio.create_task(app.worker.run(temporal_client, ["tests.samples"], queue))
        id = await answering(alice, queue)
        await eventually(lambda: query(alice, id, "add", 1, 2))
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

        code, message = await refusal(alice, id)

        assert code == "UNAVAILABLE"
        assert f"task queue {queue!r}" in message
        assert "worker" in message
        await asked(alice, TERMINATE, id)


async def test_one_whose_code_fails_at_its_step_says_so(settings: Settings, worker: str) -> None:
    hasty = settings.model_copy(update={"temporal_timeout_seconds": 1.0})
    async with serving(hasty) as api, api.client("alice") as alice:
        id = (await factories.start(alice, await factories.workflow(alice, worker, "FailingWorkflow")))["id"]

        async def told() -> bool:
            code, message = await refusal(alice, id, "add", 1, 2)
            look = f"The workflow cannot answer now, look at the worker of task queue {worker!r}: "
            return code == "UNAVAILABLE" and message.startswith(look)

        await eventually(told, timeout_seconds=30)
        await asked(alice, TERMINATE, id)


async def test_an_answer_that_takes_too_long_is_not_waited_for(settings: Settings, worker: str) -> None:
    hasty = settings.model_copy(update={"temporal_timeout_seconds": 1.0})
    async with serving(hasty) as api, api.client("alice") as alice:
        id = await answering(alice, worker)
        assert await eventually(lambda: query(alice, id, "add", 1, 2)) == {"sum": 3}

        assert await refusal(alice, id, "slow") == (
            "UNAVAILABLE",
            f"No worker answered within 1 s: is one running on task queue {worker!r}?",
        )
        await asked(alice, TERMINATE, id)


async def test_one_that_was_paused_behind_the_api_says_what_to_do(
    alice: Client, worker: str, temporal_client: temporalio.client.Client
) -> None:
    id = await answering(alice, worker)
    await temporal_client.workflow_service.pause_workflow_execution(
        PauseWorkflowExecutionRequest(
            namespace="default", workflow_id=workflow_id(id), request_id=uuid4().hex, reason="by hand"
        )
    )

    assert await refusal(alice, id, "add", 1, 2) == ("NOT_SUPPORTED", PAUSED)
    await asked(alice, TERMINATE, id)


async def test_a_temporal_that_never_answers_holds_nobody_up(
    alice: Client, settings: Settings, worker: str
) -> None:
    id = await answering(alice, worker)
    async with silent_server() as address:
        silent = settings.model_copy(update={"temporal_address": address, "temporal_timeout_seconds": 0.5})
        async with serving(silent) as api, api.client("alice") as there, asyncio.timeout(10):
            assert await refusal(there, id) == ("UNAVAILABLE", NO_ANSWER)
    await asked(alice, TERMINATE, id)


async def test_while_temporal_is_down_the_answer_says_so(
    alice: Client, settings: Settings, worker: str
) -> None:
    id = await answering(alice, worker)
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})

    async with serving(down) as api, api.client("alice") as there, asyncio.timeout(15):
        assert (await refusal(there, id))[0] == "UNAVAILABLE"
        pending = await factories.stuck(there)
        assert await refusal(there, pending["id"]) == (
            "UNAVAILABLE",
            "This execution has not been started on Temporal yet: it cannot answer.",
        )
        await asked(there, UPDATE, pending["id"], status="CANCELLED")
        assert (await refusal(there, pending["id"]))[0] == "NOT_SUPPORTED"
    await asked(alice, TERMINATE, id)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"query": ""}, "/query"),
        ({"query": "q" * 256}, "/query"),
        ({"query": "q", "arguments": [{"a": "\x00"}]}, "/arguments/0/a"),
    ],
)
async def test_what_cannot_be_asked_is_refused(alice: Client, given: dict[str, Any], path: str) -> None:
    error = await alice.error(QUERY, id=str(uuid4()), **given)

    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert [issue["path"] for issue in error["extensions"]["issues"]] == [path]


@pytest.mark.parametrize(("user", "scopes"), [("bob", ()), ("alice", ("executions:write",))])
async def test_who_may_not_is_refused(
    alice: Client, api: Api, worker: str, user: str, scopes: tuple[str, ...]
) -> None:
    id = await answering(alice, worker)

    async with api.client(user, *scopes) as other:
        assert (await refusal(other, id, "add", 1, 2))[0] == "FORBIDDEN"
    await asked(alice, TERMINATE, id)


async def test_an_unknown_one_is_not_found(alice: Client) -> None:
    assert (await refusal(alice, str(uuid4())))[0] == "NOT_FOUND"
