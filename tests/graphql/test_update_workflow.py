"""updateWorkflow: what is left out stays, what is null is taken away, and the rest is checked as ever."""

from typing import Any
from uuid import uuid4

import pytest

from tests import factories
from tests.client import Api, Client
from tests.factories import UPDATE_WORKFLOW, asked

BEFORE: dict[str, Any] = {
    "name": "Invoices",
    "description": "For people.",
    "workflowType": "InvoiceWorkflow",
    "taskQueue": "billing",
    "inputSchema": {"type": "object"},
    "executionTimeout": 60,
}
WORKFLOW = """
query ($id: ID!) {
  workflow(id: $id) {
    id name description workflowType taskQueue inputSchema executionTimeout createdAt updatedAt
  }
}
"""


async def invoices(client: Client) -> dict[str, Any]:
    created = (await client.data(factories.CREATE_WORKFLOW, input=BEFORE))["createWorkflow"]
    return await found(client, created["workflow"]["id"])


async def found(client: Client, id: str) -> dict[str, Any]:
    workflow: dict[str, Any] = (await client.data(WORKFLOW, id=id))["workflow"]
    return workflow


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Bills"},
        {"description": "Other words."},
        {"workflowType": "BillWorkflow"},
        {"taskQueue": "bills"},
        {"inputSchema": {"type": "array"}},
        {"inputSchema": True},
        {"executionTimeout": 1},
        {"description": None},
        {"inputSchema": None},
        {"executionTimeout": None},
        {"name": "Bills", "description": None, "taskQueue": "bills", "executionTimeout": 5},
    ],
    ids=str,
)
async def test_what_is_given_changes_and_the_rest_stays(alice: Client, changes: dict[str, Any]) -> None:
    before = await invoices(alice)

    changed = await asked(alice, UPDATE_WORKFLOW, before["id"], **changes)

    assert changed["__typename"] == "UpdateWorkflowSuccess"
    assert changed["workflow"] == {**before, **changes, "updatedAt": changed["workflow"]["updatedAt"]}
    assert changed["workflow"]["updatedAt"] > before["updatedAt"]
    assert await found(alice, before["id"]) == changed["workflow"]


async def test_nothing_given_changes_nothing(alice: Client) -> None:
    before = await invoices(alice)

    assert (await asked(alice, UPDATE_WORKFLOW, before["id"]))["workflow"] == before


async def test_the_next_start_goes_by_it(alice: Client, worker: str, tracker: None) -> None:
    payment = await factories.workflow(alice, f"nobody-{uuid4().hex}", "Nothing")

    await asked(alice, UPDATE_WORKFLOW, payment, workflowType="PaymentWorkflow", taskQueue=worker)
    started = await factories.start(alice, payment, {"succeed_on_attempt": 1})

    assert (await factories.events(alice, started["id"]))[-1]["type"] == "EXECUTION_COMPLETED"


@pytest.mark.parametrize(
    ("changes", "issues"),
    [
        ({"name": None}, [("/name", "must not be null: leave it out to keep it")]),
        (
            {"workflowType": None, "taskQueue": None},
            [
                ("/workflowType", "must not be null: leave it out to keep it"),
                ("/taskQueue", "must not be null: leave it out to keep it"),
            ],
        ),
        ({"name": " "}, [("/name", "must not be empty")]),
        ({"taskQueue": "a\nb"}, [("/taskQueue", "must be printable characters on one line")]),
        ({"executionTimeout": 0}, [("/executionTimeout", "must be above 0, not 0")]),
        (
            {"inputSchema": {"$ref": "https://example.com/order.json"}},
            [("/inputSchema/$ref", "must refer within this schema, as in #/$defs/name: nothing is fetched")],
        ),
        ({"description": "d" * 10_001}, [("/description", "must have 10000 characters at most, not 10001")]),
    ],
    ids=str,
)
async def test_what_create_refuses_is_refused(
    alice: Client, changes: dict[str, Any], issues: list[tuple[str, str]]
) -> None:
    before = await invoices(alice)

    refused = await asked(alice, UPDATE_WORKFLOW, before["id"], **changes)

    assert refused["__typename"] == "InvalidInputError"
    assert [(issue["path"], issue["message"]) for issue in refused["issues"]] == issues
    assert await found(alice, before["id"]) == before


@pytest.mark.parametrize(("user", "scopes"), [("bob", ()), ("alice", ("workflows:read", "executions:write"))])
async def test_who_may_not_is_refused_and_nothing_happens(
    alice: Client, api: Api, user: str, scopes: tuple[str, ...]
) -> None:
    before = await invoices(alice)

    async with api.client(user, *scopes) as other:
        refused = await asked(other, UPDATE_WORKFLOW, before["id"], name="Mine")

    assert refused["__typename"] == "ForbiddenError"
    assert await found(alice, before["id"]) == before


async def test_an_unknown_one_is_not_found(alice: Client) -> None:
    assert (await asked(alice, UPDATE_WORKFLOW, str(uuid4()), name="x"))["__typename"] == "NotFoundError"
