"""startExecution, from the mutation to the workflow's result."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import temporalio.client
from temporalio.api.enums.v1 import EventType

from app.servers import free_port
from app.settings import Settings
from app.temporal import WORKFLOW_ID_PREFIX
from resolvers.context import Services
from tests import factories
from tests.client import Client, serving, tracking
from tests.eventually import eventually
from tests.silence import silent_server
from tests.twice import CheckedDirects
from tests.unit.schemas import BRANCHING, chain

EXECUTION = """
query ($id: ID!) {
  execution(id: $id) {
    status version input output temporalRunId completedAt
    failure { reason message type activityType stackTrace }
    history(first: 100) { nodes { id type actor message details } }
  }
}
"""
CREATED, STARTED = "EXECUTION_CREATED", "EXECUTION_STARTED"
ACTIVITY = ["ACTIVITY_SCHEDULED", "ACTIVITY_STARTED", "ACTIVITY_COMPLETED"]


async def execution(client: Client, id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.data(EXECUTION, id=id))["execution"]
    return found


async def refused(client: Client, workflow_id: str, input: Any = None) -> dict[str, Any]:
    answer = await client.data(factories.START, input={"workflowId": workflow_id, "input": input})
    result: dict[str, Any] = answer["startExecution"]
    return result


async def test_an_order_runs_to_its_end_and_tells_all_of_it(
    alice: Client, worker: str, tracker: None
) -> None:
    order = await factories.workflow(alice, worker)

    started = await factories.start(alice, order, {"step_seconds": 0.01, "grace_seconds": 0.01})
    seen = await factories.events(alice, started["id"])

    assert [event["type"] for event in seen] == [
        CREATED,
        STARTED,
        *ACTIVITY * 2,
        "TIMER_STARTED",
        "TIMER_FIRED",
        *ACTIVITY * 2,
        "EXECUTION_COMPLETED",
    ]
    assert [event["version"] for event in seen] == list(range(1, len(seen) + 1))
    ended = await execution(alice, started["id"])
    assert ended["status"] == "COMPLETED"
    assert ended["output"]["tracking_number"].startswith("TRACK-")
    assert [node["id"] for node in ended["history"]["nodes"]] == [event["id"] for event in seen]


async def test_the_answer_is_the_execution_and_the_place_in_the_feed_behind_which_it_goes_on(
    alice: Client, worker: str, tracker: None
) -> None:
    started = await factories.paid(alice, worker)

    assert started["status"] == "RUNNING"
    assert started["version"] == 2
    assert started["temporalWorkflowId"] == f"temporal-graphql-{started['id']}"
    later = await factories.events(alice, started["id"], after=started["cursor"])
    assert [event["type"] for event in later] == [STARTED, *ACTIVITY, "EXECUTION_COMPLETED"]


async def test_the_workflow_gets_the_input_and_the_execution_keeps_it(
    alice: Client, worker: str, tracker: None
) -> None:
    given = {
        "order_id": "Ünï-7",
        "customer": "Grace “Amazing” Hopper 🚢",
        "items": [{"sku": "compiler", "quantity": 3, "price_cents": 100}],
        "step_seconds": 0.01,
        "grace_seconds": 0.01,
    }
    order = await factories.workflow(alice, worker)

    started = await factories.start(alice, order, given)
    await factories.events(alice, started["id"])

    ended = await execution(alice, started["id"])
    assert ended["input"] == given
    assert ended["output"] == {
        "order_id": "Ünï-7",
        "customer": "Grace “Amazing” Hopper 🚢",
        "shipped_to": "12 St James's Square, London",
        "total_cents": 300,
        "payment_id": "payment-Ünï-7",
        "tracking_number": "TRACK-ÜNÏ-7",
    }


@pytest.mark.parametrize("input", [{}, {"input": None}], ids=["left out", "null"])
async def test_without_input_the_workflow_gets_no_argument(
    alice: Client, worker: str, temporal_client: temporalio.client.Client, input: dict[str, Any]
) -> None:
    payment = await factories.workflow(alice, worker, "PaymentWorkflow")

    answer = await alice.data(factories.START, input={"workflowId": payment, **input})

    started = answer["startExecution"]["execution"]
    assert (await execution(alice, started["id"]))["input"] is None
    handle = temporal_client.get_workflow_handle(started["temporalWorkflowId"])
    first = await anext(handle.fetch_history_events())
    assert list(first.workflow_execution_started_event_attributes.input.payloads) == []


async def test_a_failing_workflow_says_what_failed_and_where(
    alice: Client, worker: str, tracker: None
) -> None:
    payment = await factories.workflow(alice, worker, "PaymentWorkflow")

    started = await factories.start(alice, payment, {"amount_cents": 7, "retry_seconds": 0.01})
    seen = await factories.events(alice, started["id"])

    assert [event["type"] for event in seen] == [
        CREATED,
        STARTED,
        "ACTIVITY_SCHEDULED",
        "ACTIVITY_STARTED",
        "ACTIVITY_FAILED",
        "EXECUTION_FAILED",
    ]
    assert seen[3]["details"]["attempt"] == 3
    assert seen[3]["details"]["lastFailure"] == "card declined on attempt 2"
    assert seen[4]["details"]["failure"] == {"message": "card declined on attempt 3", "type": "CardDeclined"}
    ended = await execution(alice, started["id"])
    message = "7 cents not paid after 3 attempts: card declined on attempt 3"
    assert ended["status"] == "FAILED"
    assert ended["output"] is None
    assert ended["completedAt"] == seen[-1]["timestamp"]
    assert "examples/payment.py" in ended["failure"].pop("stackTrace")
    assert ended["failure"] == {
        "reason": "APPLICATION",
        "message": message,
        "type": "PaymentDeclined",
        "activityType": None,
    }
    assert seen[-1]["message"] == f"Failed: {message}"


async def test_a_workflow_not_written_by_us_with_a_signal_and_a_child(
    alice: Client, worker: str, tracker: None, temporal_client: temporalio.client.Client
) -> None:
    started = await factories.waiting(alice, worker)

    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).signal("approve")
    seen = await factories.events(alice, started["id"])

    assert [event["type"] for event in seen] == [
        CREATED,
        STARTED,
        "SIGNAL_RECEIVED",
        "CHILD_STARTED",
        "CHILD_COMPLETED",
        *ACTIVITY,
        "EXECUTION_COMPLETED",
    ]
    signal, *children = seen[2:5]
    assert signal["details"] == {"signal": "approve", "arguments": []}
    assert [child["details"]["workflowType"] for child in children] == ["ComposeGreetingWorkflow"] * 2
    child_ids = {child["details"]["workflowId"] for child in children}
    assert child_ids == {f"{started['temporalWorkflowId']}-compose"}
    assert [event["details"]["activityType"] for event in seen[5:8]] == ["say-goodbye"] * 3
    assert (await execution(alice, started["id"]))["output"] == ["Hello, Ada!", "Goodbye, Ada!"]


async def test_events_tell_who_caused_them(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.paid(alice, worker)

    seen = await factories.events(alice, started["id"])

    assert [event["actor"] for event in seen] == ["alice", *[None] * 5]


async def test_a_workflow_that_nobody_runs_stays_running(
    alice: Client, worker: str, tracker: None, temporal_client: temporalio.client.Client
) -> None:
    unknown = await factories.workflow(alice, worker, "NobodyRunsThis")

    started = await factories.start(alice, unknown)

    handle = temporal_client.get_workflow_handle(started["temporalWorkflowId"])

    async def tried() -> bool:
        history = [event async for event in handle.fetch_history_events()]
        return EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED in {event.event_type for event in history}

    await eventually(tried)
    found = await execution(alice, started["id"])
    assert found["status"] == "RUNNING"
    assert [node["type"] for node in found["history"]["nodes"]] == [CREATED, STARTED]
    await handle.terminate()


async def test_a_start_that_temporal_refuses_for_good_is_a_failed_execution(alice: Client) -> None:
    reserved = await factories.workflow(alice, "/_sys/reserved")

    started = await factories.start(alice, reserved)

    assert started["status"] == "FAILED"
    found = await execution(alice, started["id"])
    assert found["failure"]["reason"] == "START_REJECTED"
    assert found["temporalRunId"] is None
    assert [node["type"] for node in found["history"]["nodes"]] == [CREATED, "EXECUTION_FAILED"]


async def test_an_archived_workflow_is_not_started(
    alice: Client, services: Services, worker: str, tracker: None
) -> None:
    archived = await factories.workflow(alice, worker, "PaymentWorkflow")
    await factories.archive(services, archived)
    before = await factories.holdings(alice)

    result = await refused(alice, archived)

    assert result == {
        "__typename": "InvalidInputError",
        "code": "INVALID_INPUT",
        "message": "/workflowId: is an archived workflow, which cannot be started",
        "issues": [
            {"path": "/workflowId", "message": "is an archived workflow, which cannot be started"},
        ],
    }
    assert await factories.holdings(alice) == before


async def test_an_unknown_workflow_is_not_found(alice: Client) -> None:
    before, missing = await factories.holdings(alice), str(uuid4())

    result = await refused(alice, missing)

    assert result == {
        "__typename": "NotFoundError",
        "code": "NOT_FOUND",
        "message": f"There is no workflow with the id '{missing}': look it up in a list.",
    }
    assert await factories.holdings(alice) == before


async def test_another_owners_workflow_is_forbidden(alice: Client, bob: Client, worker: str) -> None:
    payment = await factories.workflow(alice, worker, "PaymentWorkflow")
    before = [await factories.holdings(user) for user in (alice, bob)]

    result = await refused(bob, payment)

    assert result["__typename"] == "ForbiddenError"
    assert result["code"] == "FORBIDDEN"
    assert [await factories.holdings(user) for user in (alice, bob)] == before


async def test_input_that_cannot_be_kept_is_refused_with_every_place(alice: Client, worker: str) -> None:
    payment = await factories.workflow(alice, worker, "PaymentWorkflow")
    before = await factories.holdings(alice)

    result = await refused(alice, payment, {"rows": [1, {"na/me": "a\x00b"}], "n": 2**63, "k\x00": 1})

    assert result["__typename"] == "InvalidInputError"
    assert {(issue["path"], issue["message"]) for issue in result["issues"]} == {
        ("/input/rows/1/na~1me", "must not contain the NUL character"),
        ("/input/n", "must be an integer of 64 bits at most"),
        ("/input", "must not contain the NUL character"),
    }
    assert await factories.holdings(alice) == before


async def test_while_temporal_is_down_the_start_waits_and_happens_once_when_it_is_back(
    settings: Settings, worker: str, temporal_client: temporalio.client.Client
) -> None:
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})

    async with serving(down) as api, api.client("alice") as alice, asyncio.timeout(30):
        payment = await factories.workflow(alice, worker, "PaymentWorkflow")
        async with asyncio.timeout(5):
            started = await factories.start(alice, payment, {"succeed_on_attempt": 1})
        assert (started["status"], started["version"], started["temporalRunId"]) == ("PENDING", 1, None)
        async with tracking(settings), tracking(settings):
            seen = await factories.events(alice, started["id"])

    assert [event["type"] for event in seen] == [CREATED, STARTED, *ACTIVITY, "EXECUTION_COMPLETED"]
    query = f"WorkflowId = '{started['temporalWorkflowId']}'"

    async def are_counted() -> int:
        return (await temporal_client.count_workflows(query)).count

    assert await eventually(are_counted) == 1


async def test_a_temporal_that_never_answers_holds_nobody_up(settings: Settings) -> None:
    async with silent_server() as address:
        silent = settings.model_copy(update={"temporal_address": address, "temporal_timeout_seconds": 0.5})
        async with serving(silent) as api, api.client("alice") as alice:
            payment = await factories.workflow(alice, "nowhere", "PaymentWorkflow")
            async with asyncio.timeout(5):
                started = await factories.start(alice, payment)

    assert (started["status"], started["version"]) == ("PENDING", 1)


LABELS = [{"key": "team", "value": "blue"}, {"key": "env", "value": "prod"}]
LABELLED = "query ($id: ID!) { execution(id: $id) { status labels { key value } } }"


async def begun(temporal_client: temporalio.client.Client, started: dict[str, Any]) -> Any:
    """What Temporal noted of the start."""
    handle = temporal_client.get_workflow_handle(started["temporalWorkflowId"])
    return (await anext(handle.fetch_history_events())).workflow_execution_started_event_attributes


async def test_labels_are_kept_sorted_by_key(alice: Client) -> None:
    workflow = await factories.workflow(alice, f"nobody-{uuid4().hex}")

    answer = await alice.data(factories.START, input={"workflowId": workflow, "labels": LABELS})

    started = answer["startExecution"]["execution"]
    found = (await alice.data(LABELLED, id=started["id"]))["execution"]
    assert found["labels"] == [LABELS[1], LABELS[0]]
    await factories.asked(alice, factories.TERMINATE, started["id"])


async def test_a_delayed_start_runs_and_waits(
    alice: Client, temporal_client: temporalio.client.Client
) -> None:
    workflow = await factories.workflow(alice, f"nobody-{uuid4().hex}")

    answer = await alice.data(factories.START, input={"workflowId": workflow, "startDelay": 3_600})

    started = answer["startExecution"]["execution"]
    assert (started["status"], started["version"]) == ("RUNNING", 2)
    backoff = (await begun(temporal_client, started)).first_workflow_task_backoff.ToTimedelta()
    assert timedelta(seconds=3_590) < backoff <= timedelta(seconds=3_600)
    await factories.asked(alice, factories.TERMINATE, started["id"])


async def test_a_delay_counts_from_the_creation_whoever_starts_it_later(
    settings: Settings, temporal_client: temporalio.client.Client
) -> None:
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})
    async with serving(down) as api, api.client("alice") as alice, asyncio.timeout(30):
        workflow = await factories.workflow(alice, f"nobody-{uuid4().hex}")
        given = {"workflowId": workflow, "startDelay": 3_600, "labels": LABELS}
        started = (await alice.data(factories.START, input=given))["startExecution"]["execution"]
        assert started["status"] == "PENDING"

        async with tracking(settings):

            async def running() -> bool:
                found = (await alice.data(LABELLED, id=started["id"]))["execution"]
                return bool(found["status"] == "RUNNING")

            await eventually(running)

    backoff = (await begun(temporal_client, started)).first_workflow_task_backoff.ToTimedelta()
    assert timedelta(seconds=3_500) < backoff < timedelta(seconds=3_599.5)
    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).terminate()


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ({"startDelay": -1}, "/startDelay", "must be between 0 and 31536000 seconds (365 days), not -1"),
        (
            {"startDelay": 31_536_001},
            "/startDelay",
            "must be between 0 and 31536000 seconds (365 days), not 31536001",
        ),
        ({"labels": [*LABELS, LABELS[0]]}, "/labels/2/key", "must not be given twice: 'team'"),
        ({"labels": [{"key": "a b", "value": ""}]}, "/labels/0/key", None),
        (
            {"labels": [{"key": "a", "value": "\x00"}]},
            "/labels/0/value",
            "must not contain the NUL character",
        ),
    ],
)
async def test_labels_and_delays_that_cannot_be_kept_are_refused(
    alice: Client, given: dict[str, Any], path: str, message: str | None
) -> None:
    workflow = await factories.workflow(alice, "nobody")
    before = await factories.holdings(alice)

    answer = await alice.data(factories.START, input={"workflowId": workflow, **given})

    (issue,) = answer["startExecution"]["issues"]
    assert issue["path"] == path
    assert message in (None, issue["message"])
    assert await factories.holdings(alice) == before


async def test_input_that_breaks_the_schema_is_refused_with_every_place(
    alice: Client, temporal_client: temporalio.client.Client
) -> None:
    schema = {
        "type": "object",
        "required": ["id"],
        "properties": {"a/b": {"type": "integer"}, "rows": {"items": {"$ref": "#/$defs/row"}}},
        "$defs": {"row": {"type": "object", "properties": {"n": {"minimum": 1}}}},
    }
    queue = f"nobody-{uuid4().hex}"
    workflow = await factories.workflow(alice, queue, inputSchema=schema)
    before = await factories.holdings(alice)

    result = await refused(alice, workflow, {"a/b": "x", "rows": [{"n": 1}, {"n": 0}, 3]})

    assert result["__typename"] == "InvalidInputError"
    assert {(issue["path"], issue["message"]) for issue in result["issues"]} == {
        ("/input", '"id" is a required property'),
        ("/input/a~1b", '"x" is not of type "integer"'),
        ("/input/rows/1/n", "0 is less than the minimum of 1"),
        ("/input/rows/2", '3 is not of type "object"'),
    }
    assert await factories.holdings(alice) == before
    started = await factories.start(alice, workflow, {"id": 1, "rows": [{"n": 1}]})
    assert started["status"] == "RUNNING"
    await factories.asked(alice, factories.TERMINATE, started["id"])


async def test_a_workflow_that_has_changed_since_its_last_start_is_started_as_it_is_now(
    alice: Client, services: Services, temporal_client: temporalio.client.Client
) -> None:
    former, present = (f"nobody-{uuid4().hex}" for _ in range(2))
    workflow = await factories.workflow(alice, former, inputSchema={"type": "integer"})
    first = await factories.start(alice, workflow, 1)

    change = {"id": workflow, "taskQueue": present, "inputSchema": {"type": "string"}}
    await alice.data(factories.UPDATE_WORKFLOW, input=change)
    accepted = await factories.start(alice, workflow, "one")
    before = await factories.holdings(alice)
    result = await refused(alice, workflow, 1)
    await factories.archive(services, workflow)
    archived = await refused(alice, workflow, "one")

    assert result["issues"] == [{"path": "/input", "message": '1 is not of type "string"'}]
    assert archived["issues"][0]["path"] == "/workflowId"
    assert await factories.holdings(alice) == before
    for started, queue in ((first, former), (accepted, present)):
        handle = temporal_client.get_workflow_handle(WORKFLOW_ID_PREFIX + started["id"])
        assert (await handle.describe()).task_queue == queue
        await factories.asked(alice, factories.TERMINATE, started["id"])


async def test_a_start_that_is_asked_for_again_is_answered_by_a_plan(
    alice: Client, checked_directs: CheckedDirects
) -> None:
    asked = """
        mutation ($input: StartExecutionInput!) {
          startExecution(input: $input) {
            ... on StartExecutionSuccess { cursor execution { id status labels { key value } } }
            ... on Error { code message }
          }
        }
    """
    workflow = await factories.workflow(alice, f"nobody-{uuid4().hex}")
    given = {"workflowId": workflow, "labels": [{"key": "a", "value": "b"}]}
    inputs = [given, given, given, {**given, "startDelay": -1}, {"workflowId": str(uuid4())}]
    before = checked_directs.completed

    answers = [(await alice.data(asked, input=each))["startExecution"] for each in inputs]

    assert checked_directs.completed > before
    assert [answer.get("code") for answer in answers] == [None, None, None, "INVALID_INPUT", "NOT_FOUND"]
    for answer in answers[:3]:
        assert answer["execution"]["status"] == "RUNNING"
        assert answer["execution"]["labels"] == given["labels"]
        await factories.asked(alice, factories.TERMINATE, answer["execution"]["id"])


async def test_while_one_input_takes_long_to_check_others_are_answered(
    settings: Settings, alice: Client, bob: Client
) -> None:
    slow = await factories.workflow(alice, "nobody", inputSchema=BRANCHING)
    hasty = settings.model_copy(update={"input_schema_timeout_seconds": 1.0})
    async with serving(hasty) as api, api.client("alice") as hurried, api.client("bob") as other:
        checking = asyncio.create_task(refused(hurried, slow, chain(60)))

        answered = 0
        while not checking.done():
            await other.data("{ viewer { id } }")
            answered += 1

    assert answered > 3
    assert (await checking)["issues"] == [
        {"path": "/input", "message": "takes longer than 1 s to check: simplify the inputSchema"}
    ]
    assert (await alice.data("{ executions { totalCount } }"))["executions"]["totalCount"] == 0
