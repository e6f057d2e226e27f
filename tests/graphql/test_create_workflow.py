"""createWorkflow: what is stored, and what is refused before anything is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests import factories
from tests.client import Client

WORKFLOW = """
query ($id: ID!) {
  workflow(id: $id) {
    id name description workflowType taskQueue inputSchema executionTimeout createdAt updatedAt archivedAt
  }
}
"""


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"items": value}
    return value


async def create(client: Client, **input: Any) -> dict[str, Any]:
    required = {"name": "Order", "workflowType": "OrderWorkflow", "taskQueue": "orders"}
    answer = await client.data(factories.CREATE_WORKFLOW, input={**required, **input})
    created: dict[str, Any] = answer["createWorkflow"]
    return created


async def test_everything_given_is_kept(alice: Client) -> None:
    given = {
        "name": "Bestellung 📦 (größer)",
        "description": "Two\nlines.",
        "workflowType": "OrderWorkflow",
        "taskQueue": "orders",
        "inputSchema": {"type": "object", "properties": {"größe": {"minimum": 0.5, "enum": [1, None, "é"]}}},
        "executionTimeout": 2**31 - 1,
    }

    created = await create(alice, **given)

    assert created["__typename"] == "CreateWorkflowSuccess"
    found = (await alice.data(WORKFLOW, id=created["workflow"]["id"]))["workflow"]
    age = datetime.now(UTC) - datetime.fromisoformat(found["createdAt"])
    assert timedelta() <= age < timedelta(seconds=10)
    assert found == {
        **given,
        "id": created["workflow"]["id"],
        "createdAt": found["createdAt"],
        "updatedAt": found["createdAt"],
        "archivedAt": None,
    }


async def test_what_is_left_out_is_null(alice: Client) -> None:
    created = await create(alice)

    found = (await alice.data(WORKFLOW, id=created["workflow"]["id"]))["workflow"]
    assert found["description"] is None
    assert found["inputSchema"] is None
    assert found["executionTimeout"] is None


async def test_the_limits_themselves_are_allowed(alice: Client) -> None:
    given = {
        "name": "n" * 255,
        "workflowType": "t" * 255,
        "taskQueue": "q" * 255,
        "description": "d" * 10_000,
        "inputSchema": {"default": nested(63)},
        "executionTimeout": 1,
    }

    created = await create(alice, **given)

    found = (await alice.data(WORKFLOW, id=created["workflow"]["id"]))["workflow"]
    assert {name: found[name] for name in given} == given


async def test_every_violation_is_named_and_nothing_is_stored(alice: Client) -> None:
    before = await factories.holdings(alice)

    refused = await create(
        alice,
        name="   ",
        workflowType="two\nlines",
        taskQueue="q" * 256,
        description="d" * 10_001 + "\x00",
        inputSchema={"a/b": {"~": "\x00"}, "deep": [2**63]},
        executionTimeout=0,
    )

    assert refused["__typename"] == "InvalidInputError"
    assert refused["code"] == "INVALID_INPUT"
    assert {(issue["path"], issue["message"]) for issue in refused["issues"]} == {
        ("/name", "must not be empty"),
        ("/workflowType", "must be printable characters on one line"),
        ("/taskQueue", "must have 255 characters at most, not 256"),
        ("/description", "must have 10000 characters at most, not 10002"),
        ("/description", "must not contain the NUL character"),
        ("/inputSchema/a~1b/~0", "must not contain the NUL character"),
        ("/inputSchema/deep/0", "must be an integer of 64 bits at most"),
        ("/executionTimeout", "must be above 0, not 0"),
    }
    assert await factories.holdings(alice) == before


async def test_a_schema_nested_too_deeply_is_refused(alice: Client) -> None:
    before = await factories.holdings(alice)

    refused = await create(alice, inputSchema=nested(65))

    assert refused["__typename"] == "InvalidInputError"
    assert [issue["message"] for issue in refused["issues"]] == ["is nested deeper than 64 levels"]
    assert await factories.holdings(alice) == before


async def test_a_schema_that_is_none_is_refused_with_every_violation(alice: Client) -> None:
    before = await factories.holdings(alice)
    schema = {
        "required": "order_id",
        "properties": {"a/b": {"minimum": "x"}, "sku": {"type": "string", "minLength": -1}},
    }

    refused = await create(alice, name=" ", inputSchema=schema)

    assert refused["__typename"] == "InvalidInputError"
    assert {issue["path"] for issue in refused["issues"]} == {
        "/name",
        "/inputSchema/required",
        "/inputSchema/properties/a~1b/minimum",
        "/inputSchema/properties/sku/minLength",
    }
    assert await factories.holdings(alice) == before


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"$ref": "https://example.com/order.json"}, "/inputSchema/$ref"),
        ({"$defs": {"a": {"$ref": "file:///etc/passwd"}}}, "/inputSchema/$defs/a/$ref"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "/inputSchema/properties/a/pattern"),
        ({"items": {"const": "x" * 70_000}}, "/inputSchema"),
        ({"$ref": "#/$defs/a"}, "/inputSchema/$ref"),
        ("object", "/inputSchema"),
    ],
)
async def test_a_schema_that_cannot_be_used_is_refused(alice: Client, schema: Any, path: str) -> None:
    refused = await create(alice, inputSchema=schema)

    assert [issue["path"] for issue in refused["issues"]] == [path]


async def test_a_workflow_belongs_to_its_creator_alone(alice: Client, bob: Client) -> None:
    bobs_before = await factories.holdings(bob)

    created = await create(alice)

    assert (await factories.holdings(alice))["workflows"]["totalCount"] == 1
    assert await factories.holdings(bob) == bobs_before
    error = await bob.error(WORKFLOW, id=created["workflow"]["id"])
    assert error["extensions"]["code"] == "FORBIDDEN"
