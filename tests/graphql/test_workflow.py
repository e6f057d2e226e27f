"""workflow: one by its id."""

from uuid import uuid4

from resolvers.context import Services
from tests import factories
from tests.client import Api, Client

WORKFLOW = "query ($id: ID!) { workflow(id: $id) { id name archivedAt } }"


async def test_ones_own_is_found_in_either_letter_case(alice: Client) -> None:
    id = await factories.workflow(alice, "orders")

    found = [await alice.data(WORKFLOW, id=written) for written in (id, id.upper())]

    assert found == [{"workflow": {"id": id, "name": "OrderWorkflow", "archivedAt": None}}] * 2


async def test_an_archived_one_stays_readable(alice: Client, services: Services) -> None:
    id = await factories.workflow(alice, "orders")
    await factories.archive(services, id)

    found = await alice.data(WORKFLOW, id=id)

    assert found["workflow"]["archivedAt"] == "2026-01-08T00:00:00.000Z"


async def test_a_missing_one_is_not_found(alice: Client) -> None:
    missing = str(uuid4())

    answer = await alice.answer(WORKFLOW, id=missing)

    assert answer["data"] == {"workflow": None}
    (error,) = answer["errors"]
    assert error["message"] == f"There is no workflow with the id '{missing}': look it up in a list."
    assert error["path"] == ["workflow"]
    assert error["extensions"] == {"code": "NOT_FOUND"}


async def test_the_id_of_an_execution_is_no_workflows(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (execution_id,) = await factories.recorded(services, "alice", workflow_id, 1)

    error = await alice.error(WORKFLOW, id=execution_id)

    assert error["extensions"]["code"] == "NOT_FOUND"


async def test_another_owners_is_forbidden_and_nothing_of_it_is_told(alice: Client, bob: Client) -> None:
    id = await factories.workflow(alice, "orders", name="secret")

    answer = await bob.answer(WORKFLOW, id=id)

    assert answer["data"] == {"workflow": None}
    (error,) = answer["errors"]
    assert error["message"] == "This workflow belongs to another user; only they or an admin may have it."
    assert error["extensions"] == {"code": "FORBIDDEN"}
    assert "secret" not in str(answer)


async def test_an_admin_sees_another_owners(alice: Client, api: Api) -> None:
    id = await factories.workflow(alice, "orders")

    async with api.client("root", "admin") as admin:
        found = await admin.data(WORKFLOW, id=id)

    assert found["workflow"]["id"] == id
