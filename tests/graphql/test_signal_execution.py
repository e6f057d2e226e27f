"""signalExecution: a signal with its arguments, told in the answer and by the tracker once."""

from typing import Any
from uuid import uuid4

import pytest
import temporalio.client

from app.settings import Settings
from tests import factories
from tests.client import Api, Client, serving
from tests.factories import SIGNAL, UPDATE, asked

CREATED, STARTED, SIGNALLED = "EXECUTION_CREATED", "EXECUTION_STARTED", "SIGNAL_RECEIVED"


async def test_a_signal_lets_the_workflow_go_on(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.waiting(alice, worker)

    sent = await asked(alice, SIGNAL, started["id"], signal="approve")
    seen = await factories.events(alice, started["id"])

    assert sent["__typename"] == "SignalExecutionSuccess"
    types = [event["type"] for event in seen]
    assert types[:3] == [CREATED, STARTED, SIGNALLED]
    assert types.count(SIGNALLED) == 1
    assert types[-1] == "EXECUTION_COMPLETED"
    assert (seen[2]["actor"], seen[2]["details"]) == ("alice", {"signal": "approve", "arguments": []})


async def test_the_answer_tells_the_signal_without_a_tracker(
    alice: Client, temporal_client: temporalio.client.Client
) -> None:
    started = await factories.stuck(alice)
    given: list[Any] = [{"by": "Ünï"}, 2, "three", [4.5], False]

    sent = await asked(alice, SIGNAL, started["id"], signal="approve", arguments=given)

    assert (sent["execution"]["status"], sent["execution"]["version"]) == ("RUNNING", 3)
    (*_, signal) = await factories.history(alice, started["id"])
    assert signal["details"] == {"signal": "approve", "arguments": given}
    assert signal["message"] == "Signal approve received"
    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).terminate()


async def test_a_paused_one_takes_signals(alice: Client, temporal_client: temporalio.client.Client) -> None:
    started = await factories.stuck(alice)
    await asked(alice, UPDATE, started["id"], status="PAUSED")

    sent = await asked(alice, SIGNAL, started["id"], signal="approve")

    assert (sent["execution"]["status"], sent["execution"]["version"]) == ("PAUSED", 4)
    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).terminate()


async def test_one_that_has_ended_takes_none(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.paid(alice, worker)
    await factories.events(alice, started["id"])
    before = await factories.holdings(alice)

    refused = await asked(alice, SIGNAL, started["id"], signal="approve")

    assert refused == {
        "__typename": "InvalidTransitionError",
        "code": "INVALID_TRANSITION",
        "message": "An execution that is COMPLETED cannot take a signal; allowed now: nothing, it has ended.",
        "from": "COMPLETED",
        "to": "COMPLETED",
        "allowedActions": [],
    }
    assert await factories.holdings(alice) == before


async def test_one_that_has_just_ended_is_told_from_its_end(
    alice: Client, temporal_client: temporalio.client.Client
) -> None:
    started = await factories.stuck(alice)
    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).terminate()

    refused = await asked(alice, SIGNAL, started["id"], signal="approve")

    assert (refused["code"], refused["from"]) == ("INVALID_TRANSITION", "FAILED")


@pytest.mark.parametrize(
    ("given", "issue"),
    [
        ({"signal": ""}, ("/signal", "must not be empty")),
        ({"signal": "n" * 256}, ("/signal", "must have 255 characters at most, not 256")),
        ({"signal": "a\nb"}, ("/signal", "must be printable characters on one line")),
        (
            {"signal": "go", "arguments": [1, {"a": "\x00"}]},
            ("/arguments/1/a", "must not contain the NUL character"),
        ),
    ],
)
async def test_what_cannot_be_sent_is_refused(alice: Client, given: dict[str, Any], issue: Any) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)

    refused = await asked(alice, SIGNAL, started["id"], **given)

    assert refused["__typename"] == "InvalidInputError"
    assert [(each["path"], each["message"]) for each in refused["issues"]] == [issue]
    assert await factories.holdings(alice) == before


async def test_more_than_temporal_takes_is_refused_before_it_is_sent(settings: Settings) -> None:
    roomy = settings.model_copy(update={"max_body_bytes": 5_000_000})
    async with serving(roomy) as api, api.client("alice") as alice:
        started = await factories.stuck(alice)
        before = await factories.holdings(alice)

        refused = await asked(alice, SIGNAL, started["id"], signal="go", arguments=["x" * 2_100_000])

        assert refused["__typename"] == "InvalidInputError"
        (issue,) = refused["issues"]
        assert issue["path"] == "/arguments"
        assert "which takes 2000000 at most" in issue["message"]
        assert await factories.holdings(alice) == before


@pytest.mark.parametrize(("user", "scopes"), [("bob", ()), ("alice", ("executions:read",))])
async def test_who_may_not_is_refused_and_nothing_happens(
    alice: Client, api: Api, user: str, scopes: tuple[str, ...]
) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)

    async with api.client(user, *scopes) as other:
        refused = await asked(other, SIGNAL, started["id"], signal="approve")

    assert refused["__typename"] == "ForbiddenError"
    assert await factories.holdings(alice) == before


async def test_an_unknown_one_is_not_found(alice: Client) -> None:
    refused = await asked(alice, SIGNAL, str(uuid4()), signal="approve")

    assert refused["__typename"] == "NotFoundError"
