"""executionFeed as a query: the subscription's events, for catching up, page by page."""

from typing import Any

import pytest

from app.paging import feed_cursor, feed_position
from resolvers import events
from resolvers.context import Services
from tests import factories
from tests.client import Client

PAGE = """
query ($first: Int, $after: String, $filter: ExecutionEventFilter) {
  executionFeed(first: $first, after: $after, filter: $filter) {
    totalCount
    edges { cursor }
    nodes { cursor type status version execution { id version } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""


async def page(client: Client, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await client.data(PAGE, **variables))["executionFeed"]
    assert [edge["cursor"] for edge in found["edges"]] == [node["cursor"] for node in found["nodes"]]
    return found


def positions(found: dict[str, Any]) -> list[int]:
    return [feed_position(node["cursor"]) for node in found["nodes"]]


async def test_pages_lead_from_the_oldest_to_the_newest_and_on(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    await factories.note(services, id, 4)

    first = await page(alice, first=3)
    rest = await page(alice, first=3, after=first["pageInfo"]["endCursor"])
    beyond = await page(alice, after=rest["pageInfo"]["endCursor"])
    await factories.note(services, id)
    new = await page(alice, after=beyond["pageInfo"]["endCursor"])

    pages = (first, rest, beyond, new)
    assert [positions(found) for found in pages] == [[1, 2, 3], [4, 5], [], [6]]
    assert [found["pageInfo"]["hasNextPage"] for found in pages] == [True, False, False, False]
    # A feed always says up to where it was read.
    assert beyond["pageInfo"]["endCursor"] == rest["pageInfo"]["endCursor"]
    assert [found["totalCount"] for found in pages] == [5, 5, 5, 6]


async def test_a_filter_chooses_by_the_event_and_by_its_execution(
    alice: Client, services: Services, subtests: pytest.Subtests
) -> None:
    orders, payments = [await factories.workflow(alice, "orders") for _ in range(2)]
    (prod,) = await factories.recorded(services, "alice", orders, 1, labels={"env": "prod"})
    (paid,) = await factories.recorded(services, "alice", payments, 1)
    for id in (prod, paid):
        await factories.note(services, id)
    label = {"key": "env", "value": "prod"}
    expected: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [1, 2, 3, 4]),
        ({"workflowId": [payments]}, [2, 4]),
        ({"workflowId": []}, []),
        ({"types": ["EXECUTION_UPDATED"]}, [3, 4]),
        ({"types": []}, []),
        ({"status": ["PENDING"]}, [1, 2, 3, 4]),
        ({"status": ["RUNNING"]}, []),
        ({"labels": [label]}, [1, 3]),
        ({"labels": [label], "types": ["EXECUTION_CREATED"], "workflowId": [orders]}, [1]),
    ]

    for chosen, found in expected:
        with subtests.test(str(chosen)):
            told = await page(alice, filter=chosen)

            assert positions(told) == found
            assert told["totalCount"] == len(found)
            assert told["pageInfo"]["endCursor"] == feed_cursor(4)


async def test_a_filter_that_chooses_little_is_looked_for_a_bounded_way(
    alice: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SEARCHED_EVENTS", 3)
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    await factories.note(services, id, 6)
    (late,) = await factories.recorded(services, "alice", workflow_id, 1)
    created = {"types": ["EXECUTION_CREATED"]}

    pages = [await page(alice, filter=created)]
    while pages[-1]["pageInfo"]["hasNextPage"]:
        pages.append(await page(alice, filter=created, after=pages[-1]["pageInfo"]["endCursor"]))

    assert [positions(found) for found in pages] == [[1], [], [8]]
    ends = [feed_position(found["pageInfo"]["endCursor"]) for found in pages]
    assert ends == [3, 6, 8]
    assert pages[-1]["nodes"][0]["execution"]["id"] == late


async def test_nested_fields_are_batched(statements: list[str], alice: Client, services: Services) -> None:
    for _ in range(2):
        workflow_id = await factories.workflow(alice, "orders")
        await factories.recorded(services, "alice", workflow_id, 5)

    counts = []
    for selection in (
        "type",
        "execution { status }",
        "execution { workflow { name } }",
        "execution { workflow { name } input history(first: 1) { nodes { type } } }",
    ):
        statements.clear()
        found = await alice.data(f"{{ executionFeed {{ nodes {{ {selection} }} }} }}")
        assert len(found["executionFeed"]["nodes"]) == 10
        counts.append(len(statements))

    # What the feed holds, before and after its events.
    assert counts == [3, 3, 4, 6]


async def test_what_is_out_of_bounds_is_refused(alice: Client, subtests: pytest.Subtests) -> None:
    many = [{"key": f"key{place}", "value": ""} for place in range(101)]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"first": 0}, "/first"),
        ({"after": "x"}, "/after"),
        ({"filter": {"labels": many}}, "/filter/labels"),
        ({"filter": {"labels": [{"key": "\x00", "value": ""}]}}, "/filter/labels"),
    ]

    for variables, path in wrong:
        with subtests.test(path):
            error = await alice.error(PAGE, **variables)

            assert error["extensions"]["code"] == "INVALID_INPUT"
            assert [issue["path"] for issue in error["extensions"]["issues"]] == [path]
