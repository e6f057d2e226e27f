"""execution: one by its id, as it is now."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import temporalio.client

from resolvers.context import Services
from tests import factories
from tests.client import Api, Client

EXECUTION = """
query ($id: ID!) {
  execution(id: $id) {
    id status version input output startedBy temporalWorkflowId temporalRunId
    createdAt startedAt completedAt updatedAt duration
    failure { reason }
    workflow { id name }
  }
}
"""


async def test_a_running_one(alice: Client, worker: str, temporal_client: temporalio.client.Client) -> None:
    workflow_id = await factories.workflow(alice, worker, "GreetingWorkflow")

    started = await factories.start(alice, workflow_id, "Ada")
    found = (await alice.data(EXECUTION, id=started["id"].upper()))["execution"]

    on_temporal = await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).describe()
    created, began = datetime.fromisoformat(found["createdAt"]), datetime.fromisoformat(found["startedAt"])
    assert timedelta() <= datetime.now(UTC) - created < timedelta(seconds=10)
    assert created <= began
    assert 0 < found["duration"] < 10
    assert found == {
        "id": started["id"],
        "status": "RUNNING",
        "version": 2,
        "input": "Ada",
        "output": None,
        "startedBy": "alice",
        "temporalWorkflowId": f"temporal-graphql-{started['id']}",
        "temporalRunId": on_temporal.run_id,
        "createdAt": found["createdAt"],
        "startedAt": found["startedAt"],
        "completedAt": None,
        "updatedAt": found["updatedAt"],
        "duration": found["duration"],
        "failure": None,
        "workflow": {"id": workflow_id, "name": "GreetingWorkflow"},
    }


async def test_a_completed_one(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.paid(alice, worker)
    *_, last = await factories.events(alice, started["id"])

    found = (await alice.data(EXECUTION, id=started["id"]))["execution"]

    assert (found["status"], found["version"]) == ("COMPLETED", 6)
    assert found["output"] == {"customer": "Ada Lovelace", "amount_cents": 4900, "attempts": 1}
    assert found["completedAt"] == last["timestamp"]
    took = datetime.fromisoformat(found["completedAt"]) - datetime.fromisoformat(found["startedAt"])
    assert found["duration"] == pytest.approx(took.total_seconds(), abs=0.002)


async def test_one_that_waits_for_temporal(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)

    found = (await alice.data(EXECUTION, id=id))["execution"]

    assert (found["status"], found["version"], found["input"]) == ("PENDING", 1, {"place": 0})
    assert [found[name] for name in ("temporalRunId", "startedAt", "completedAt", "duration")] == [None] * 4


async def test_input_and_output_are_read_only_when_selected(
    statements: list[str], alice: Client, services: Services
) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)

    read = []
    for selection in ("status", "status input", "... on Execution { status output }"):
        statements.clear()
        await alice.data(f'{{ execution(id: "{id}") {{ {selection} }} }}')
        (statement,) = statements
        read.append("execution.input" in statement)

    assert read == [False, True, True]


async def test_a_missing_one_is_not_found(alice: Client) -> None:
    missing = str(uuid4())

    answer = await alice.answer(EXECUTION, id=missing)

    assert answer["data"] == {"execution": None}
    (error,) = answer["errors"]
    assert error["message"] == f"There is no execution with the id '{missing}': look it up in a list."
    assert error["path"] == ["execution"]
    assert error["extensions"] == {"code": "NOT_FOUND"}


async def test_another_owners_is_forbidden_and_nothing_of_it_is_told(
    alice: Client, bob: Client, services: Services
) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)

    answer = await bob.answer(EXECUTION, id=id)

    assert answer["data"] == {"execution": None}
    (error,) = answer["errors"]
    assert error["message"] == "This execution belongs to another user; only they or an admin may have it."
    assert error["extensions"] == {"code": "FORBIDDEN"}


async def test_an_admin_sees_another_owners_whole(alice: Client, api: Api, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)

    async with api.client("root", "admin") as admin:
        found = (await admin.data(EXECUTION, id=id))["execution"]

    assert found["input"] == {"place": 0}
    assert found["workflow"]["id"] == workflow_id
