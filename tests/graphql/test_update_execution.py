"""updateExecution: paused, resumed, ended by hand; labels and remarks; each change told once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import temporalio.client
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus

from app.servers import _temporal_binary, free_port
from app.settings import Settings
from tests import factories
from tests.client import Api, Client, serving, tracking
from tests.eventually import eventually
from tests.factories import TERMINATE, UPDATE, asked
from tests.temporal.scene import workflow_id

TemporalClient = temporalio.client.Client
CREATED, STARTED = "EXECUTION_CREATED", "EXECUTION_STARTED"
PAUSED, RESUMED, UPDATED = "EXECUTION_PAUSED", "EXECUTION_RESUMED", "EXECUTION_UPDATED"


def told(log: list[dict[str, Any]]) -> list[tuple[str, str | None, str]]:
    """What came after the start."""
    assert [each["type"] for each in log[:2]] == [CREATED, STARTED]
    return [(each["type"], each["actor"], each["message"]) for each in log[2:]]


async def test_paused_and_resumed_the_answers_tell_it_without_a_tracker(
    alice: Client, temporal_client: TemporalClient
) -> None:
    started = await factories.stuck(alice)

    paused = await asked(alice, UPDATE, started["id"], status="PAUSED", message="for the night")
    resumed = await asked(alice, UPDATE, started["id"], status="RUNNING")

    assert paused["__typename"] == "UpdateExecutionSuccess"
    assert (paused["execution"]["status"], paused["execution"]["version"]) == ("PAUSED", 3)
    assert paused["execution"]["allowedActions"] == [
        "RESUME",
        "CANCEL",
        "TERMINATE",
        "COMPLETE",
        "FAIL",
        "SIGNAL",
    ]
    assert (resumed["execution"]["status"], resumed["execution"]["version"]) == ("RUNNING", 4)
    assert told(await factories.history(alice, started["id"])) == [
        (PAUSED, "alice", "Paused: for the night"),
        (RESUMED, "alice", "Resumed"),
    ]
    await temporal_client.get_workflow_handle(workflow_id(started["id"])).terminate()


async def test_a_paused_workflow_takes_no_step_until_it_is_resumed(
    alice: Client, worker: str, tracker: None
) -> None:
    started = await factories.waiting(alice, worker)
    await asked(alice, UPDATE, started["id"], status="PAUSED")
    await asked(alice, factories.SIGNAL, started["id"], signal="approve")

    resumed = await asked(alice, UPDATE, started["id"], status="RUNNING")
    seen = await factories.events(alice, started["id"])

    assert resumed["execution"]["status"] == "RUNNING"
    types = [event["type"] for event in seen]
    assert types[2:5] == [PAUSED, "SIGNAL_RECEIVED", RESUMED]
    assert types[5] == "CHILD_STARTED"
    assert types[-1] == "EXECUTION_COMPLETED"


async def test_of_several_who_pause_at_once_one_does(alice: Client, settings: Settings) -> None:
    async with tracking(settings):
        started = await factories.stuck(alice)

        answers = await asyncio.gather(
            *[asked(alice, UPDATE, started["id"], status="PAUSED") for _ in range(4)]
        )

    kinds = sorted(answer["__typename"] for answer in answers)
    assert kinds == ["InvalidTransitionError"] * 3 + ["UpdateExecutionSuccess"]
    for answer in answers:
        if answer["__typename"] == "InvalidTransitionError":
            assert (answer["from"], answer["to"]) == ("PAUSED", "PAUSED")
            assert "RESUME" in answer["allowedActions"]
    assert len(told(await factories.history(alice, started["id"]))) == 1


async def test_what_changed_outside_unseen_is_recorded_and_then_told(
    alice: Client, temporal_client: TemporalClient
) -> None:
    paused, ended = await factories.stuck(alice), await factories.stuck(alice)
    await temporal_client.workflow_service.pause_workflow_execution(
        PauseWorkflowExecutionRequest(
            namespace="default", workflow_id=workflow_id(paused["id"]), request_id=uuid4().hex
        )
    )
    await temporal_client.get_workflow_handle(workflow_id(ended["id"])).terminate()

    refusals = [await asked(alice, UPDATE, each["id"], status="PAUSED") for each in (paused, ended)]

    assert [(each["code"], each["from"], each["to"]) for each in refusals] == [
        ("INVALID_TRANSITION", "PAUSED", "PAUSED"),
        ("INVALID_TRANSITION", "FAILED", "PAUSED"),
    ]
    assert told(await factories.history(alice, paused["id"])) == [(PAUSED, None, "Paused")]
    await asked(alice, TERMINATE, paused["id"])


@asynccontextmanager
async def server_without_pause() -> AsyncIterator[str]:
    """A Temporal as it is where nobody has turned pausing on."""
    port, http_port = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        *(_temporal_binary(), "server", "start-dev", "--headless", "--log-level", "never"),
        *("--port", str(port), "--http-port", str(http_port)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def test_a_server_that_cannot_pause_says_how_to_turn_it_on(settings: Settings) -> None:
    async with server_without_pause() as address:
        unable = settings.model_copy(update={"temporal_address": address})
        async with tracking(unable), serving(unable) as api, api.client("alice") as alice:
            started = await factories.stuck(alice)

            async def runs() -> bool:
                found = await alice.data(
                    "query ($id: ID!) { execution(id: $id) { status } }", id=started["id"]
                )
                return bool(found["execution"]["status"] == "RUNNING")

            await eventually(runs, timeout_seconds=30)
            before = await factories.holdings(alice)

            refused = await asked(alice, UPDATE, started["id"], status="PAUSED")

            assert (refused["__typename"], refused["code"]) == ("NotSupportedError", "NOT_SUPPORTED")
            assert "frontend.WorkflowPauseEnabled" in refused["message"]
            assert await factories.holdings(alice) == before


async def test_completed_by_hand_with_an_output(alice: Client, temporal_client: TemporalClient) -> None:
    started = await factories.stuck(alice)
    output = {"paid": True, "cents": [1, 2.5, None], "who": "Ünï 🚢"}

    ended = await asked(
        alice, UPDATE, started["id"], status="COMPLETED", output=output, message="paid by telephone"
    )

    execution = ended["execution"]
    assert (execution["status"], execution["version"], execution["failure"]) == ("COMPLETED", 3, None)
    assert (execution["output"], execution["allowedActions"]) == (output, [])
    assert execution["completedAt"]
    assert told(await factories.history(alice, started["id"])) == [
        ("EXECUTION_COMPLETED", "alice", "Completed by hand: paid by telephone")
    ]
    described = await temporal_client.get_workflow_handle(workflow_id(started["id"])).describe()
    assert described.status is WorkflowExecutionStatus.TERMINATED


async def test_completed_by_hand_with_nothing(alice: Client) -> None:
    started = await factories.stuck(alice)

    ended = await asked(alice, UPDATE, started["id"], status="COMPLETED")

    assert (ended["execution"]["status"], ended["execution"]["output"]) == ("COMPLETED", None)
    assert told(await factories.history(alice, started["id"])) == [
        ("EXECUTION_COMPLETED", "alice", "Completed by hand")
    ]


async def test_the_deepest_output_that_is_accepted_comes_back(alice: Client) -> None:
    started = await factories.stuck(alice)
    deepest: Any = "bottom"
    for _ in range(64):
        deepest = [deepest]

    ended = await asked(alice, UPDATE, started["id"], status="COMPLETED", output=deepest)

    assert ended["execution"]["output"] == deepest


async def test_failed_by_hand_with_a_message(alice: Client) -> None:
    started = await factories.stuck(alice)

    ended = await asked(alice, UPDATE, started["id"], status="FAILED", message="the bank is closed")

    execution = ended["execution"]
    assert (execution["status"], execution["output"]) == ("FAILED", None)
    assert execution["failure"] == {"reason": "TERMINATED", "message": "Failed by hand: the bank is closed"}
    assert told(await factories.history(alice, started["id"])) == [
        ("EXECUTION_FAILED", "alice", "Failed by hand: the bank is closed")
    ]


async def test_a_paused_one_is_ended_by_hand(alice: Client) -> None:
    started = await factories.stuck(alice)
    await asked(alice, UPDATE, started["id"], status="PAUSED")

    ended = await asked(alice, UPDATE, started["id"], status="COMPLETED", output=7)

    assert (ended["execution"]["status"], ended["execution"]["output"]) == ("COMPLETED", 7)


async def test_whoever_reads_an_end_by_hand_first_it_is_told_once(alice: Client, settings: Settings) -> None:
    async with tracking(settings), tracking(settings):
        started = [await factories.stuck(alice) for _ in range(5)]

        await asyncio.gather(
            *[asked(alice, UPDATE, each["id"], status="COMPLETED", output=1) for each in started]
        )

        for each in started:
            seen = await factories.events(alice, each["id"])
            assert [event["type"] for event in seen] == [CREATED, STARTED, "EXECUTION_COMPLETED"]


async def test_an_output_that_temporal_does_not_take_is_refused(settings: Settings) -> None:
    roomy = settings.model_copy(update={"max_body_bytes": 5_000_000})
    async with serving(roomy) as api, api.client("alice") as alice:
        started = await factories.stuck(alice)
        before = await factories.holdings(alice)

        refused = await asked(alice, UPDATE, started["id"], status="COMPLETED", output="x" * 2_100_000)

        assert refused["__typename"] == "InvalidInputError"
        (issue,) = refused["issues"]
        assert issue["path"] == "/output"
        assert "which takes 2000000 at most" in issue["message"]
        assert await factories.holdings(alice) == before


async def test_cancelled_as_cancel_execution_does(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.waiting(alice, worker)

    cancelled = await asked(alice, UPDATE, started["id"], status="CANCELLED", message="no longer needed")
    seen = await factories.events(alice, started["id"])

    assert cancelled["execution"]["status"] == "RUNNING"
    assert told(seen) == [
        ("EXECUTION_CANCEL_REQUESTED", "alice", "Cancellation requested: no longer needed"),
        ("EXECUTION_CANCELLED", None, "Cancelled"),
    ]


async def test_labels_replace_each_other_as_a_whole(alice: Client, temporal_client: TemporalClient) -> None:
    started = await factories.stuck(alice)

    async def label(labels: dict[str, str], **more: Any) -> dict[str, Any]:
        given = [{"key": key, "value": value} for key, value in labels.items()]
        found: dict[str, Any] = (await asked(alice, UPDATE, started["id"], labels=given, **more))["execution"]
        return found

    first = await label({"team": "blue", "env/stage": "prod", "empty": ""})
    second = await label({"team": "Röd 🚢"}, message="moved")
    third = await label({})

    assert first["labels"] == [
        {"key": "empty", "value": ""},
        {"key": "env/stage", "value": "prod"},
        {"key": "team", "value": "blue"},
    ]
    assert second["labels"] == [{"key": "team", "value": "Röd 🚢"}]
    assert (third["labels"], third["version"], third["status"]) == ([], 5, "RUNNING")
    log = await factories.history(alice, started["id"])
    assert told(log) == [
        (UPDATED, "alice", "Labels changed"),
        (UPDATED, "alice", "moved"),
        (UPDATED, "alice", "Labels changed"),
    ]
    assert log[3]["details"] == {"labels": {"team": "Röd 🚢"}}
    await temporal_client.get_workflow_handle(workflow_id(started["id"])).terminate()


async def test_a_remark_changes_nothing_but_is_told(alice: Client, temporal_client: TemporalClient) -> None:
    started = await factories.stuck(alice)
    labels = [{"key": "team", "value": "blue"}]
    await asked(alice, UPDATE, started["id"], labels=labels)

    updated = await asked(alice, UPDATE, started["id"], message="asked the customer")

    assert (updated["execution"]["labels"], updated["execution"]["version"]) == (labels, 4)
    assert told(await factories.history(alice, started["id"]))[1] == (UPDATED, "alice", "asked the customer")
    await temporal_client.get_workflow_handle(workflow_id(started["id"])).terminate()


async def test_a_pending_one_takes_labels_but_no_other_status(settings: Settings) -> None:
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})
    async with serving(down) as api, api.client("alice") as alice:
        started = await factories.stuck(alice)

        labelled = await asked(alice, UPDATE, started["id"], labels=[{"key": "team", "value": "blue"}])
        refusals = [
            await asked(alice, UPDATE, started["id"], status=status)
            for status in ("PAUSED", "RUNNING", "COMPLETED", "FAILED")
        ]
        cancelled = await asked(alice, UPDATE, started["id"], status="CANCELLED")

    assert (labelled["execution"]["status"], labelled["execution"]["allowedActions"]) == (
        "PENDING",
        ["CANCEL"],
    )
    assert {(each["code"], each["from"], *each["allowedActions"]) for each in refusals} == {
        ("INVALID_TRANSITION", "PENDING", "CANCEL")
    }
    assert (cancelled["execution"]["status"], cancelled["execution"]["version"]) == ("CANCELLED", 3)


async def test_one_that_has_ended_is_not_changed(alice: Client) -> None:
    started = await factories.stuck(alice)
    await asked(alice, TERMINATE, started["id"])
    before = await factories.holdings(alice)

    refusals = [
        await asked(alice, UPDATE, started["id"], labels=[]),
        await asked(alice, UPDATE, started["id"], message="too late"),
        *[
            await asked(alice, UPDATE, started["id"], status=status)
            for status in ("PAUSED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")
        ],
    ]

    assert {(each["code"], each["from"], *each["allowedActions"]) for each in refusals} == {
        ("INVALID_TRANSITION", "FAILED")
    }
    assert refusals[0]["message"] == (
        "An execution that is FAILED cannot be changed; allowed now: nothing, it has ended."
    )
    assert await factories.holdings(alice) == before


LABEL = {"key": "team", "value": "blue"}
NO_KEY = "must be 1 to 63 letters (A-Z, a-z), digits or any of . _ - /"


@pytest.mark.parametrize(
    ("given", "issues"),
    [
        ({}, [("", "must have a status, labels or a message: else there is nothing to update")]),
        (
            {"status": "PENDING"},
            [("/status", "must not be PENDING: no execution goes back to where it began")],
        ),
        (
            {"status": "PAUSED", "labels": [LABEL]},
            [("/labels", "must be changed in an update of their own, without a status")],
        ),
        ({"status": "FAILED", "output": 1}, [("/output", "is only for the status COMPLETED")]),
        ({"message": "m", "output": False}, [("/output", "is only for the status COMPLETED")]),
        ({"message": " "}, [("/message", "must not be empty")]),
        ({"message": "m" * 1_001}, [("/message", "must have 1000 characters at most, not 1001")]),
        ({"message": "a\x00"}, [("/message", "must not contain the NUL character")]),
        (
            {"status": "COMPLETED", "output": {"a": ["\x00"]}},
            [("/output/a/0", "must not contain the NUL character")],
        ),
        (
            {"labels": [LABEL, {"key": "", "value": "v" * 256}, LABEL]},
            [
                ("/labels/1/key", NO_KEY),
                ("/labels/1/value", "must have 255 characters at most, not 256"),
                ("/labels/2/key", "must not be given twice: 'team'"),
            ],
        ),
        ({"labels": [LABEL] * 33}, [("/labels", "must have 32 labels at most, not 33")]),
    ],
)
async def test_what_makes_no_sense_is_refused_with_every_issue(
    alice: Client, given: dict[str, Any], issues: list[tuple[str, str]]
) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)

    refused = await asked(alice, UPDATE, started["id"], **given)

    assert refused["__typename"] == "InvalidInputError"
    assert [(each["path"], each["message"]) for each in refused["issues"]] == issues
    assert await factories.holdings(alice) == before


@pytest.mark.parametrize("given", [{"status": "PAUSED"}, {"labels": [LABEL]}, {"status": "CANCELLED"}])
async def test_one_that_has_moved_on_is_left_alone_where_a_version_is_expected(
    alice: Client, given: dict[str, Any]
) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)

    refused = await asked(alice, UPDATE, started["id"], expectedVersion=1, **given)

    assert refused["__typename"] == "VersionConflictError"
    assert refused["execution"] == {"id": started["id"], "status": "RUNNING", "version": 2}
    assert await factories.holdings(alice) == before


async def test_of_those_who_expect_the_same_version_one_sets_the_labels(alice: Client) -> None:
    started = await factories.stuck(alice)

    answers = await asyncio.gather(
        *[
            asked(alice, UPDATE, started["id"], labels=[{"key": "n", "value": str(n)}], expectedVersion=2)
            for n in range(5)
        ]
    )

    kinds = sorted(answer["__typename"] for answer in answers)
    assert kinds == ["UpdateExecutionSuccess"] + ["VersionConflictError"] * 4


@pytest.mark.parametrize(("user", "scopes"), [("bob", ()), ("alice", ("executions:read",))])
async def test_who_may_not_is_refused_and_nothing_happens(
    alice: Client, api: Api, temporal_client: TemporalClient, user: str, scopes: tuple[str, ...]
) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)
    updates: list[dict[str, Any]] = [{"status": "PAUSED"}, {"status": "COMPLETED"}, {"labels": [LABEL]}]

    async with api.client(user, *scopes) as other:
        refusals = [await asked(other, UPDATE, started["id"], **given) for given in updates]

    assert {each["__typename"] for each in refusals} == {"ForbiddenError"}
    assert await factories.holdings(alice) == before
    described = await temporal_client.get_workflow_handle(workflow_id(started["id"])).describe()
    assert described.status is WorkflowExecutionStatus.RUNNING


async def test_an_unknown_one_is_not_found(alice: Client) -> None:
    updates: list[dict[str, Any]] = [{"status": "PAUSED"}, {"labels": []}]
    for given in updates:
        refused = await asked(alice, UPDATE, str(uuid4()), **given)
        assert refused["__typename"] == "NotFoundError"


async def test_while_temporal_is_down_nothing_is_changed_and_the_answer_says_so(
    alice: Client, settings: Settings
) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})

    async with serving(down) as api, api.client("alice") as there, asyncio.timeout(20):
        refusals = [
            await asked(there, UPDATE, started["id"], status=status)
            for status in ("PAUSED", "COMPLETED", "FAILED")
        ]

    assert {(each["__typename"], each["retryAfter"]) for each in refusals} == {("UnavailableError", 2)}
    assert await factories.holdings(alice) == before
