"""terminateExecution: ended on Temporal, and told as soon as it is."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
import temporalio.client
from temporalio.client import WorkflowExecutionStatus

from app.servers import free_port
from app.settings import Settings
from tests import factories
from tests.client import Api, Client, serving, tracking
from tests.factories import TERMINATE, asked

TemporalClient = temporalio.client.Client
CREATED, STARTED, FAILED = "EXECUTION_CREATED", "EXECUTION_STARTED", "EXECUTION_FAILED"


async def on_temporal(client: TemporalClient, started: dict[str, Any]) -> WorkflowExecutionStatus | None:
    return (await client.get_workflow_handle(started["temporalWorkflowId"]).describe()).status


async def test_the_answer_tells_the_end_without_a_tracker(
    alice: Client, temporal_client: TemporalClient
) -> None:
    started = await factories.stuck(alice)

    ended = await asked(alice, TERMINATE, started["id"], reason="it hangs")

    assert ended["__typename"] == "TerminateExecutionSuccess"
    execution = ended["execution"]
    assert (execution["status"], execution["version"], execution["allowedActions"]) == ("FAILED", 3, [])
    assert execution["failure"] == {"reason": "TERMINATED", "message": "Terminated: it hangs"}
    assert execution["completedAt"]
    assert await on_temporal(temporal_client, started) is WorkflowExecutionStatus.TERMINATED
    log = await factories.history(alice, started["id"])
    assert [(each["type"], each["actor"]) for each in log] == [
        (CREATED, "alice"),
        (STARTED, None),
        (FAILED, "alice"),
    ]
    assert log[2]["message"] == "Terminated: it hangs"


async def test_nothing_follows_the_answers_cursor(alice: Client) -> None:
    started = await factories.stuck(alice)

    ended = await asked(alice, TERMINATE, started["id"])

    assert await factories.events(alice, started["id"], after=ended["cursor"]) == []
    before = await factories.events(alice, started["id"], after=started["cursor"])
    assert [event["type"] for event in before] == [STARTED, FAILED]


async def test_a_tracker_that_reads_the_end_too_records_it_once(alice: Client, settings: Settings) -> None:
    async with tracking(settings), tracking(settings):
        started = [await factories.stuck(alice) for _ in range(5)]

        answers = await asyncio.gather(*[asked(alice, TERMINATE, each["id"]) for each in started])

        assert {answer["execution"]["status"] for answer in answers} == {"FAILED"}
        for each in started:
            seen = await factories.events(alice, each["id"])
            assert [event["type"] for event in seen] == [CREATED, STARTED, FAILED]


async def test_of_two_at_once_one_ends_it(alice: Client) -> None:
    started = await factories.stuck(alice)

    answers = await asyncio.gather(*[asked(alice, TERMINATE, started["id"]) for _ in range(4)])

    kinds = sorted(answer["__typename"] for answer in answers)
    assert kinds == ["InvalidTransitionError"] * 3 + ["TerminateExecutionSuccess"]
    refused = next(answer for answer in answers if answer["__typename"] == "InvalidTransitionError")
    assert (refused["from"], refused["to"], refused["allowedActions"]) == ("FAILED", "FAILED", [])


async def test_an_end_that_nobody_has_recorded_is_recorded_and_then_told(
    alice: Client, temporal_client: TemporalClient
) -> None:
    started = await factories.stuck(alice)
    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).terminate(reason="from outside")

    refused = await asked(alice, TERMINATE, started["id"])

    assert (refused["code"], refused["from"]) == ("INVALID_TRANSITION", "FAILED")
    log = await factories.history(alice, started["id"])
    assert [each["message"] for each in log] == ["Created", "Started", "Terminated: from outside"]
    assert log[2]["actor"] is None


async def test_the_runs_that_nobody_has_recorded_are_recorded_to_the_last(
    alice: Client, worker: str, temporal_client: TemporalClient
) -> None:
    countdown = await factories.workflow(alice, worker, "CountdownWorkflow")
    started = await factories.start(alice, countdown, 2)
    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).result()

    refused = await asked(alice, TERMINATE, started["id"])

    assert (refused["code"], refused["from"]) == ("INVALID_TRANSITION", "COMPLETED")
    types = [each["type"] for each in await factories.history(alice, started["id"])]
    continued = ["EXECUTION_CONTINUED"] * 2
    assert types == [CREATED, STARTED, *continued, "EXECUTION_COMPLETED"]


async def test_a_pending_one_is_only_cancelled(settings: Settings) -> None:
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})
    async with serving(down) as api, api.client("alice") as alice:
        started = await factories.stuck(alice)
        before = await factories.holdings(alice)

        refused = await asked(alice, TERMINATE, started["id"])

        assert refused == {
            "__typename": "InvalidTransitionError",
            "code": "INVALID_TRANSITION",
            "message": "An execution that is PENDING cannot become FAILED; allowed now: CANCEL.",
            "from": "PENDING",
            "to": "FAILED",
            "allowedActions": ["CANCEL"],
        }
        assert await factories.holdings(alice) == before


async def test_one_that_has_moved_on_is_left_alone_where_a_version_is_expected(
    alice: Client, temporal_client: TemporalClient
) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)

    refused = await asked(alice, TERMINATE, started["id"], expectedVersion=1)

    assert refused["__typename"] == "VersionConflictError"
    assert refused["execution"] == {"id": started["id"], "status": "RUNNING", "version": 2}
    assert await factories.holdings(alice) == before
    assert await on_temporal(temporal_client, started) is WorkflowExecutionStatus.RUNNING
    ended = await asked(alice, TERMINATE, started["id"], expectedVersion=2)
    assert ended["execution"]["status"] == "FAILED"


@pytest.mark.parametrize(("user", "scopes"), [("bob", ()), ("alice", ("executions:read", "workflows:write"))])
async def test_who_may_not_is_refused_and_nothing_happens(
    alice: Client, api: Api, temporal_client: TemporalClient, user: str, scopes: tuple[str, ...]
) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)

    async with api.client(user, *scopes) as other:
        refused = await asked(other, TERMINATE, started["id"])

    assert (refused["__typename"], refused["code"]) == ("ForbiddenError", "FORBIDDEN")
    assert refused["requiredScope"] == ("executions:write" if scopes else None)
    assert await factories.holdings(alice) == before
    assert await on_temporal(temporal_client, started) is WorkflowExecutionStatus.RUNNING


async def test_an_admin_ends_anyones_and_is_named(alice: Client, api: Api) -> None:
    started = await factories.stuck(alice)

    async with api.client("root", "admin") as root:
        ended = await asked(root, TERMINATE, started["id"])

    assert ended["execution"]["status"] == "FAILED"
    assert (await factories.history(alice, started["id"]))[2]["actor"] == "root"


async def test_an_unknown_one_is_not_found(alice: Client) -> None:
    missing = str(uuid4())

    refused = await asked(alice, TERMINATE, missing)

    assert (refused["__typename"], refused["id"]) == ("NotFoundError", missing)


async def test_a_reason_is_kept_never_refused(alice: Client) -> None:
    started = await factories.stuck(alice)

    ended = await asked(alice, TERMINATE, started["id"], reason="a\x00b" + "é" * 1_500)

    assert ended["execution"]["failure"]["message"] == "Terminated: ab" + "é" * 998


async def test_while_temporal_is_down_nothing_is_changed_and_the_answer_says_so(
    alice: Client, settings: Settings, temporal_client: TemporalClient
) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})

    async with serving(down) as api, api.client("alice") as there, asyncio.timeout(10):
        refused = await asked(there, TERMINATE, started["id"])

    assert (refused["__typename"], refused["retryAfter"]) == ("UnavailableError", 2)
    assert await factories.holdings(alice) == before
    assert await on_temporal(temporal_client, started) is WorkflowExecutionStatus.RUNNING
