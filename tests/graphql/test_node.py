"""node: any object by its id."""

from uuid import uuid4

import pytest

from resolvers.context import Services
from tests import factories
from tests.client import Api, Client

NODE = """
query ($id: ID!) {
  node(id: $id) {
    __typename
    id
    ... on Workflow { name }
    ... on Execution { status }
    ... on ExecutionEvent { type version execution { id } }
  }
}
"""


async def test_a_workflow(alice: Client) -> None:
    id = await factories.workflow(alice, "orders")

    found = await alice.data(NODE, id=id)

    assert found == {"node": {"__typename": "Workflow", "id": id, "name": "OrderWorkflow"}}


async def test_an_execution(alice: Client, services: Services) -> None:
    (id,) = await factories.recorded(services, "alice", await factories.workflow(alice, "orders"), 1)

    found = await alice.data(NODE, id=id)

    assert found == {"node": {"__typename": "Execution", "id": id, "status": "PENDING"}}


async def test_an_event(alice: Client, services: Services) -> None:
    (id,) = await factories.recorded(services, "alice", await factories.workflow(alice, "orders"), 1)
    await factories.note(services, id)

    found = await alice.data(NODE, id=f"{id}:2")

    assert found == {
        "node": {
            "__typename": "ExecutionEvent",
            "id": f"{id}:2",
            "type": "EXECUTION_UPDATED",
            "version": 2,
            "execution": {"id": id},
        }
    }


async def test_what_does_not_exist_is_not_found(alice: Client, services: Services) -> None:
    (id,) = await factories.recorded(services, "alice", await factories.workflow(alice, "orders"), 1)
    missing = uuid4()
    unknown = [f"{missing}", f"{missing}:1", f"{id}:2", f"{id}:0", f"{id}:-1", f"{id}:", f"{id}:1:1", ":", ""]

    errors = [await alice.error(NODE, id=written) for written in (*unknown, f"{id}:{10**30}", "x" * 5_000)]

    assert [error["extensions"] for error in errors] == [{"code": "NOT_FOUND"}] * len(errors)
    assert [error["path"] for error in errors] == [["node"]] * len(errors)
    assert max(len(error["message"]) for error in errors) < 120


async def test_another_owners_is_forbidden(
    alice: Client, bob: Client, services: Services, subtests: pytest.Subtests
) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (execution_id,) = await factories.recorded(services, "alice", workflow_id, 1)

    for id in (workflow_id, execution_id, f"{execution_id}:1"):
        with subtests.test(id):
            answer = await bob.answer(NODE, id=id)

            assert answer["data"] == {"node": None}
            assert [error["extensions"] for error in answer["errors"]] == [{"code": "FORBIDDEN"}]


async def test_a_kind_that_the_token_may_not_read_hides_no_other(
    alice: Client, api: Api, services: Services
) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (execution_id,) = await factories.recorded(services, "alice", workflow_id, 1)

    async with (
        api.client("alice", "workflows:read") as of_workflows,
        api.client("alice", "executions:read") as of_executions,
    ):
        found = [
            (await of_workflows.data(NODE, id=workflow_id))["node"]["__typename"],
            (await of_executions.data(NODE, id=execution_id))["node"]["__typename"],
        ]
        refused = [
            await of_workflows.error(NODE, id=execution_id),
            await of_executions.error(NODE, id=workflow_id),
        ]

    assert found == ["Workflow", "Execution"]
    assert [error["extensions"] for error in refused] == [
        {"code": "FORBIDDEN", "requiredScope": "executions:read"},
        {"code": "FORBIDDEN", "requiredScope": "workflows:read"},
    ]
