"""startExecution with an idempotencyKey: one execution, however often it is asked for."""

import asyncio

from app.settings import Settings
from tests import factories
from tests.client import Api, Client, serving

START = """
mutation ($input: StartExecutionInput!) {
  startExecution(input: $input) {
    __typename
    ... on StartExecutionSuccess { cursor replayed execution { id } }
    ... on IdempotencyConflictError { code execution { id } }
    ... on InvalidInputError { issues { path } }
  }
}
"""


async def test_fifty_at_once_over_two_replicas_start_one_execution(
    settings: Settings, api: Api, alice: Client, worker: str
) -> None:
    order = await factories.workflow(alice, worker)
    input = {"workflowId": order, "input": {"step_seconds": 0.01}, "idempotencyKey": "order 7"}

    async with serving(settings) as other, other.client("alice") as again:
        answers = await asyncio.gather(
            *(client.data(START, input=input) for client in (alice, again) for _ in range(25))
        )

    results = [answer["startExecution"] for answer in answers]
    assert {result["__typename"] for result in results} == {"StartExecutionSuccess"}
    assert len({result["execution"]["id"] for result in results}) == 1
    assert len({result["cursor"] for result in results}) == 1
    assert [result["replayed"] for result in results].count(False) == 1
    assert (await alice.data("{ executions { totalCount } }"))["executions"]["totalCount"] == 1


async def test_the_key_with_another_request_is_refused(alice: Client) -> None:
    order = await factories.workflow(alice, "nobody")
    input = {"workflowId": order, "input": {"a": 1, "b": 2}, "idempotencyKey": "k"}
    first = (await alice.data(START, input=input))["startExecution"]

    same = (await alice.data(START, input={**input, "input": {"b": 2, "a": 1}}))["startExecution"]
    other = (await alice.data(START, input={**input, "input": {"a": 2}}))["startExecution"]

    assert same == {**first, "replayed": True}
    assert other == {
        "__typename": "IdempotencyConflictError",
        "code": "IDEMPOTENCY_CONFLICT",
        "execution": first["execution"],
    }
    assert (await alice.data("{ executions { totalCount } }"))["executions"]["totalCount"] == 1


async def test_a_repeated_request_is_answered_whatever_its_workflow_has_become(alice: Client) -> None:
    """Whoever lost the answer must not take what is started for refused."""
    orders = [await factories.workflow(alice, "nobody") for _ in range(2)]
    inputs = [{"workflowId": order, "input": {"a": 1}, "idempotencyKey": order} for order in orders]
    firsts = [(await alice.data(START, input=input))["startExecution"] for input in inputs]
    await alice.data(factories.ARCHIVE_WORKFLOW, id=orders[0])
    changes = {"id": orders[1], "inputSchema": {"type": "object", "required": ["b"]}}
    await alice.data(factories.UPDATE_WORKFLOW, input=changes)

    again = [(await alice.data(START, input=input))["startExecution"] for input in inputs]
    others = [
        (await alice.data(START, input={**input, "input": {"a": 2}}))["startExecution"]["__typename"]
        for input in inputs
    ]
    fresh = [
        (await alice.data(START, input={**input, "idempotencyKey": "k"}))["startExecution"]["__typename"]
        for input in inputs
    ]

    assert again == [{**first, "replayed": True} for first in firsts]
    assert others == ["IdempotencyConflictError"] * 2
    assert fresh == ["InvalidInputError"] * 2


async def test_labels_and_the_delay_are_part_of_the_request(alice: Client) -> None:
    order = await factories.workflow(alice, "nobody")
    labels = [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]
    input = {"workflowId": order, "labels": labels, "startDelay": 60, "idempotencyKey": "k"}
    first = (await alice.data(START, input=input))["startExecution"]

    same = (await alice.data(START, input={**input, "labels": labels[::-1]}))["startExecution"]
    others = [
        (await alice.data(START, input={**input, **other}))["startExecution"]["__typename"]
        for other in ({"labels": labels[:1]}, {"labels": None}, {"startDelay": 61}, {"startDelay": None})
    ]

    assert same == {**first, "replayed": True}
    assert others == ["IdempotencyConflictError"] * 4
    assert (await alice.data("{ executions { totalCount } }"))["executions"]["totalCount"] == 1


async def test_a_key_is_its_owners(alice: Client, bob: Client) -> None:
    mine, theirs = await factories.workflow(alice, "nobody"), await factories.workflow(bob, "nobody")

    first = await alice.data(START, input={"workflowId": mine, "idempotencyKey": "k"})
    second = await bob.data(START, input={"workflowId": theirs, "idempotencyKey": "k"})

    assert first["startExecution"]["execution"]["id"] != second["startExecution"]["execution"]["id"]
    assert not second["startExecution"]["replayed"]


async def test_an_empty_key_is_refused(alice: Client) -> None:
    order = await factories.workflow(alice, "nobody")

    answer = await alice.data(START, input={"workflowId": order, "idempotencyKey": ""})

    assert answer["startExecution"]["issues"] == [{"path": "/idempotencyKey"}]
    assert (await alice.data("{ executions { totalCount } }"))["executions"]["totalCount"] == 0
