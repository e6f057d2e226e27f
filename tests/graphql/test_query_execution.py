"""queryExecution: what the workflow's code answers, and why it does not."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest

from app.servers import free_port
from app.settings import Settings
from tests import factories
from tests.client import Api, Client, serving
from tests.factories import SIGNAL, TERMINATE, UPDATE, asked

QUERY = """
query ($id: ID!, $query: String!, $arguments: [JSON!]) {
  queryExecution(id: $id, query: $query, arguments: $arguments)
}
"""


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
    assert "add broken nothing" in issue["message"]
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
    await asked(alice, UPDATE, id, status="PAUSED")

    code, message = await refusal(alice, id, "add", 1, 2)

    assert (code, message) == (
        "NOT_SUPPORTED",
        "This execution is paused, and Temporal asks no paused workflow: resume it first.",
    )
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
        "The workflow has not taken its first step yet: it cannot answer.",
    )
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
