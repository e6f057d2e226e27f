"""cancelExecution: asked of Temporal, recorded once, and done at once where nothing runs yet."""

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import temporalio.client
from sqlmodel import col, select
from temporalio.api.history.v1 import WorkflowExecutionCancelRequestedEventAttributes
from temporalio.service import RPCError, RPCStatusCode

from app.servers import free_port
from app.settings import Settings
from app.tables import Execution
from resolvers.context import Services
from tests import factories
from tests.client import Client, serving, tracking
from tests.eventually import eventually

TemporalClient = temporalio.client.Client

CANCEL = """
mutation ($input: CancelExecutionInput!) {
  cancelExecution(input: $input) {
    __typename
    ... on CancelExecutionSuccess { cursor execution { id status version completedAt failure { reason } } }
    ... on Error { code message }
    ... on NotFoundError { id }
    ... on ForbiddenError { requiredScope }
    ... on InvalidTransitionError { from to allowedActions }
    ... on VersionConflictError { execution { id status version } }
    ... on UnavailableError { retryAfter }
  }
}
"""
HISTORY = """
query ($id: ID!) {
  execution(id: $id) { status version history(first: 100) { nodes { type actor message } } }
}
"""
CREATED, STARTED = "EXECUTION_CREATED", "EXECUTION_STARTED"
REQUESTED, CANCELLED = "EXECUTION_CANCEL_REQUESTED", "EXECUTION_CANCELLED"


async def cancel(client: Client, id: str, **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = (await client.data(CANCEL, input={"id": id, **more}))["cancelExecution"]
    return result


async def history(client: Client, id: str) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = (await client.data(HISTORY, id=id))["execution"]["history"]["nodes"]
    return nodes


async def requests(
    temporal_client: TemporalClient, workflow_id: str
) -> list[WorkflowExecutionCancelRequestedEventAttributes]:
    """The requests to cancel that reached Temporal."""
    return [
        event.workflow_execution_cancel_requested_event_attributes
        async for event in temporal_client.get_workflow_handle(workflow_id).fetch_history_events()
        if event.HasField("workflow_execution_cancel_requested_event_attributes")
    ]


async def test_a_running_one_is_asked_and_then_ends(
    alice: Client, worker: str, tracker: None, temporal_client: TemporalClient
) -> None:
    started = await factories.waiting(alice, worker)

    asked = await cancel(alice, started["id"], reason="no longer needed")
    seen = await factories.events(alice, started["id"])

    assert asked["__typename"] == "CancelExecutionSuccess"
    assert [(event["type"], event["actor"]) for event in seen] == [
        (CREATED, "alice"),
        (STARTED, None),
        (REQUESTED, "alice"),
        (CANCELLED, None),
    ]
    assert seen[2]["message"] == "Cancellation requested: no longer needed"
    assert [(event["status"], event["version"]) for event in seen[2:]] == [("RUNNING", 3), ("CANCELLED", 4)]
    (request,) = await requests(temporal_client, started["temporalWorkflowId"])
    assert (request.cause, request.identity) == ("no longer needed", "temporal-graphql:alice")


async def test_the_answer_leads_to_what_follows(alice: Client, worker: str, services: Services) -> None:
    started = await factories.waiting(alice, worker)

    asked = await cancel(alice, started["id"])

    assert asked["execution"] == {
        "id": started["id"],
        "status": "RUNNING",
        "version": 3,
        "completedAt": None,
        "failure": None,
    }
    async with alice.socket() as socket:
        await socket.subscribe("1", factories.EVENTS, {"id": started["id"], "after": asked["cursor"]})
        await factories.note(services, started["id"])
        assert (await socket.next())["executionEvents"]["version"] == 4


async def test_asking_again_changes_nothing(
    alice: Client, tracker: None, temporal_client: TemporalClient
) -> None:
    started = await factories.stuck(alice)
    handle = temporal_client.get_workflow_handle(started["temporalWorkflowId"])

    answers = await asyncio.gather(*[cancel(alice, started["id"], reason=f"no. {n}") for n in range(3)])
    answers.append(await cancel(alice, started["id"], reason="once more"))

    assert {answer["__typename"] for answer in answers} == {"CancelExecutionSuccess"}
    assert {answer["execution"]["version"] for answer in answers} == {3}
    assert len({answer["cursor"] for answer in answers}) == 1
    # The tracker has read past the requests once it tells of what came behind them.
    await handle.signal("approve")
    await eventually(lambda: told(alice, started["id"], "SIGNAL_RECEIVED"))
    types = [event["type"] for event in await history(alice, started["id"])]
    assert types == [CREATED, STARTED, REQUESTED, "SIGNAL_RECEIVED"]
    await handle.terminate()


async def told(client: Client, id: str, type: str) -> bool:
    return type in {event["type"] for event in await history(client, id)}


async def test_a_pending_one_is_cancelled_at_once_and_never_runs(
    settings: Settings, services: Services, temporal_client: TemporalClient
) -> None:
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})
    async with serving(down) as api, api.client("alice") as alice:
        started = await factories.stuck(alice)

        cancelled = await cancel(alice, started["id"], reason="changed my mind")

        ended = cancelled["execution"]
        assert (started["status"], ended["status"], ended["version"]) == ("PENDING", "CANCELLED", 2)
        assert datetime.fromisoformat(ended["completedAt"]).tzinfo
        assert await history(alice, started["id"]) == [
            {"type": CREATED, "actor": "alice", "message": "Created"},
            {
                "type": CANCELLED,
                "actor": "alice",
                "message": "Cancelled before it was started: changed my mind",
            },
        ]
        hasty = settings.model_copy(update={"temporal_timeout_seconds": 1.0})
        async with tracking(hasty):
            await eventually(lambda: settled(services, started["id"]))
        with pytest.raises(RPCError) as missing:
            await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).describe()
        assert missing.value.status is RPCStatusCode.NOT_FOUND
        assert [event["type"] for event in await history(alice, started["id"])] == [CREATED, CANCELLED]


async def settled(services: Services, id: str) -> bool:
    async with services.db.read() as connection:
        query = select(col(Execution.start_unsettled)).where(col(Execution.id) == UUID(id))
        return not (await connection.execute(query)).scalar_one()


async def test_one_that_has_ended_stays_as_it_is(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.paid(alice, worker)
    await factories.events(alice, started["id"])
    before = await factories.holdings(alice)

    refused = await cancel(alice, started["id"])

    assert refused == {
        "__typename": "InvalidTransitionError",
        "code": "INVALID_TRANSITION",
        "message": (
            "An execution that is COMPLETED cannot become CANCELLED; allowed now: nothing, it has ended."
        ),
        "from": "COMPLETED",
        "to": "CANCELLED",
        "allowedActions": [],
    }
    assert await factories.holdings(alice) == before


async def test_one_that_has_moved_on_is_left_alone_where_a_version_is_expected(
    alice: Client, temporal_client: TemporalClient
) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)

    refused = await cancel(alice, started["id"], expectedVersion=1)

    assert refused == {
        "__typename": "VersionConflictError",
        "code": "VERSION_CONFLICT",
        "message": (
            "Expected version 1, but the execution is at version 2. "
            "Look at it again, and send its present version if you still want this."
        ),
        "execution": {"id": started["id"], "status": "RUNNING", "version": 2},
    }
    assert await factories.holdings(alice) == before
    assert await requests(temporal_client, started["temporalWorkflowId"]) == []
    asked = await cancel(alice, started["id"], expectedVersion=2)
    assert asked["__typename"] == "CancelExecutionSuccess"
    assert len(await requests(temporal_client, started["temporalWorkflowId"])) == 1
    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).terminate()


async def test_another_owners_is_forbidden(
    alice: Client, bob: Client, temporal_client: TemporalClient
) -> None:
    started = await factories.stuck(alice)
    before = [await factories.holdings(user) for user in (alice, bob)]

    refused = await cancel(bob, started["id"])

    assert refused == {
        "__typename": "ForbiddenError",
        "code": "FORBIDDEN",
        "message": "This execution belongs to another user; only they or an admin may have it.",
        "requiredScope": None,
    }
    assert [await factories.holdings(user) for user in (alice, bob)] == before
    assert await requests(temporal_client, started["temporalWorkflowId"]) == []
    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).terminate()


async def test_an_unknown_one_is_not_found(alice: Client) -> None:
    missing = str(uuid4())

    refused = await cancel(alice, missing)

    assert refused == {
        "__typename": "NotFoundError",
        "code": "NOT_FOUND",
        "message": f"There is no execution with the id '{missing}': look it up in a list.",
        "id": missing,
    }


async def test_a_reason_is_kept_never_refused(alice: Client, temporal_client: TemporalClient) -> None:
    started = await factories.stuck(alice)

    asked = await cancel(alice, started["id"], reason="a\x00b" + "é" * 1_500)

    kept = "ab" + "é" * 998
    assert asked["__typename"] == "CancelExecutionSuccess"
    (*_, event) = await history(alice, started["id"])
    assert event["message"] == f"Cancellation requested: {kept}"
    (request,) = await requests(temporal_client, started["temporalWorkflowId"])
    assert request.cause == kept
    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).terminate()


async def test_while_temporal_is_down_nothing_is_changed_and_the_answer_says_so(
    alice: Client, settings: Settings, temporal_client: TemporalClient
) -> None:
    started = await factories.stuck(alice)
    before = await factories.holdings(alice)
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})

    async with serving(down) as api, api.client("alice") as there, asyncio.timeout(10):
        refused = await cancel(there, started["id"])

    assert refused["__typename"] == "UnavailableError"
    assert (refused["code"], refused["retryAfter"]) == ("UNAVAILABLE", 2)
    assert await factories.holdings(alice) == before
    await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).terminate()
