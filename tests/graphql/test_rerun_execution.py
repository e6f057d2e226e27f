"""rerunExecution: a new execution of the same workflow, which knows what it was rerun from."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
import temporalio.client

from resolvers.context import Services
from tests import factories
from tests.client import Api, Client
from tests.factories import RERUN, TERMINATE, asked

STUCK_INPUT = {"place": "here"}


async def stuck(client: Client, input: Any = STUCK_INPUT, **more: Any) -> dict[str, Any]:
    workflow = await factories.workflow(client, f"nobody-{uuid4().hex}")
    answer = await client.data(factories.START, input={"workflowId": workflow, "input": input, **more})
    found: dict[str, Any] = answer["startExecution"]["execution"]
    return {**found, "workflow": workflow}


async def test_one_that_has_ended_runs_anew_with_its_input(alice: Client, worker: str, tracker: None) -> None:
    first = await factories.paid(alice, worker)
    await factories.events(alice, first["id"])

    again = (await asked(alice, RERUN, first["id"]))["execution"]
    seen = await factories.events(alice, again["id"])

    assert again["id"] != first["id"]
    assert again["input"] == {"succeed_on_attempt": 1}
    assert again["rerunOf"] == {"id": first["id"]}
    assert seen[0]["actor"] == "alice"
    assert seen[-1]["type"] == "EXECUTION_COMPLETED"
    assert (await factories.history(alice, first["id"]))[-1]["type"] == "EXECUTION_COMPLETED"


async def test_the_labels_go_with_it_and_the_answer_leads_to_what_follows(alice: Client) -> None:
    labels = [{"key": "team", "value": "blue"}]
    first = await stuck(alice, labels=labels)

    answer = await asked(alice, RERUN, first["id"])

    again = answer["execution"]
    assert (again["labels"], again["input"], again["workflow"]) == (
        labels,
        STUCK_INPUT,
        {"id": first["workflow"]},
    )
    assert (again["status"], again["version"]) == ("RUNNING", 2)
    await asked(alice, TERMINATE, again["id"])
    later = await factories.events(alice, again["id"], after=answer["cursor"])
    assert [event["type"] for event in later] == ["EXECUTION_STARTED", "EXECUTION_FAILED"]


@pytest.mark.parametrize(
    ("given", "input"),
    [({}, STUCK_INPUT), ({"input": None}, None), ({"input": [1, {"a": 2}]}, [1, {"a": 2}])],
)
async def test_input_left_out_is_that_of_before_and_null_is_none(
    alice: Client, temporal_client: temporalio.client.Client, given: dict[str, Any], input: Any
) -> None:
    first = await stuck(alice)

    again = (await asked(alice, RERUN, first["id"], **given))["execution"]

    assert again["input"] == input
    handle = temporal_client.get_workflow_handle(f"temporal-graphql-{again['id']}")
    began = await anext(handle.fetch_history_events())
    sent = began.workflow_execution_started_event_attributes.input.payloads
    assert len(sent) == (0 if input is None else 1)


async def test_a_key_counts_once_for_the_same_rerun(alice: Client) -> None:
    first = await stuck(alice)

    answers = await asyncio.gather(
        *[asked(alice, RERUN, first["id"], idempotencyKey="again") for _ in range(4)]
    )
    other = await asked(alice, RERUN, first["id"], idempotencyKey="again", input=STUCK_INPUT)

    assert len({answer["execution"]["id"] for answer in answers}) == 1
    assert other["__typename"] == "IdempotencyConflictError"
    assert other["execution"]["id"] == answers[0]["execution"]["id"]


async def test_a_key_of_a_start_is_none_of_a_rerun(alice: Client) -> None:
    first = await stuck(alice, idempotencyKey="mine")
    before = await factories.holdings(alice)

    refused = await asked(alice, RERUN, first["id"], idempotencyKey="mine")

    assert refused["__typename"] == "IdempotencyConflictError"
    assert refused["execution"]["id"] == first["id"]
    assert await factories.holdings(alice) == before


async def test_that_of_an_archived_workflow_is_not_rerun(alice: Client, services: Services) -> None:
    first = await stuck(alice)
    await factories.archive(services, first["workflow"])
    before = await factories.holdings(alice)

    refused = await asked(alice, RERUN, first["id"])

    assert refused["issues"] == [
        {"path": "/id", "message": "is of an archived workflow, which cannot be started"}
    ]
    assert await factories.holdings(alice) == before


@pytest.mark.parametrize(
    ("given", "path"), [({"input": {"a": "\x00"}}, "/input/a"), ({"idempotencyKey": " "}, "/idempotencyKey")]
)
async def test_what_cannot_be_kept_is_refused(alice: Client, given: dict[str, Any], path: str) -> None:
    first = await stuck(alice)
    before = await factories.holdings(alice)

    refused = await asked(alice, RERUN, first["id"], **given)

    assert [issue["path"] for issue in refused["issues"]] == [path]
    assert await factories.holdings(alice) == before


async def test_the_input_is_checked_by_the_schema_of_now(alice: Client) -> None:
    first = await stuck(alice)
    schema = {"type": "object", "required": ["place", "time"]}
    await asked(alice, factories.UPDATE_WORKFLOW, first["workflow"], inputSchema=schema)
    before = await factories.holdings(alice)

    refusals = [
        await asked(alice, RERUN, first["id"]),
        await asked(alice, RERUN, first["id"], input={"place": 1}),
        await asked(alice, RERUN, first["id"], input=None),
    ]

    missing = {"path": "/input", "message": '"time" is a required property'}
    nothing = {"path": "/input", "message": 'null is not of type "object"'}
    assert [each["issues"] for each in refusals] == [[missing], [missing], [nothing]]
    assert await factories.holdings(alice) == before
    again = await asked(alice, RERUN, first["id"], input={"place": 1, "time": 2})
    assert again["__typename"] == "RerunExecutionSuccess"


@pytest.mark.parametrize(("user", "scopes"), [("bob", ()), ("alice", ("executions:read",))])
async def test_who_may_not_is_refused_and_nothing_happens(
    alice: Client, api: Api, user: str, scopes: tuple[str, ...]
) -> None:
    first = await stuck(alice)
    before = await factories.holdings(alice)

    async with api.client(user, *scopes) as other:
        refused = await asked(other, RERUN, first["id"])

    assert refused["__typename"] == "ForbiddenError"
    assert await factories.holdings(alice) == before


async def test_an_admins_rerun_is_the_owners(alice: Client, api: Api) -> None:
    first = await stuck(alice)

    async with api.client("root", "admin") as root:
        again = (await asked(root, RERUN, first["id"]))["execution"]

    found = await alice.data("query ($id: ID!) { execution(id: $id) { startedBy } }", id=again["id"])
    assert found["execution"]["startedBy"] == "root"


async def test_an_unknown_one_is_not_found(alice: Client) -> None:
    assert (await asked(alice, RERUN, str(uuid4())))["__typename"] == "NotFoundError"
