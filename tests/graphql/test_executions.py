"""executions: the caller's, newest first, page by page."""

from contextlib import aclosing
from typing import Any

import pytest

from resolvers.context import Services
from tests import factories
from tests.client import Client

PAGE = """
query ($first: Int, $after: String) {
  executions(first: $first, after: $after) {
    edges { cursor node { id } }
    nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""


async def page(client: Client, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await client.data(PAGE, **variables))["executions"]
    assert [edge["node"] for edge in found["edges"]] == found["nodes"]
    cursors = [edge["cursor"] for edge in found["edges"]] or [None]
    assert found["pageInfo"]["startCursor"] == cursors[0]
    assert found["pageInfo"]["endCursor"] == cursors[-1]
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [node["id"] for node in found["nodes"]]


async def test_ten_are_listed_by_default_and_a_hundred_at_most(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    newest_first = (await factories.recorded(services, "alice", workflow_id, 101))[::-1]

    usual, most = await page(alice), await page(alice, first=100)

    assert ids(usual) == newest_first[:10]
    assert ids(most) == newest_first[:100]
    assert usual["pageInfo"]["hasNextPage"]
    assert most["pageInfo"]["hasNextPage"]
    assert not most["pageInfo"]["hasPreviousPage"]


async def test_no_other_size_is_possible(alice: Client, subtests: pytest.Subtests) -> None:
    for first in (-1, 0, 101):
        with subtests.test(str(first)):
            answer = await alice.answer(PAGE, first=first)

            assert answer["data"] is None
            (error,) = answer["errors"]
            assert error["extensions"] == {
                "code": "INVALID_INPUT",
                "issues": [{"path": "/first", "message": f"must be between 1 and 100, not {first}"}],
            }


async def test_an_empty_list_has_no_cursors(alice: Client) -> None:
    found = await page(alice)

    assert found == {
        "edges": [],
        "nodes": [],
        "pageInfo": {
            "hasNextPage": False,
            "hasPreviousPage": False,
            "startCursor": None,
            "endCursor": None,
        },
    }


async def test_the_pages_hold_every_row_once_while_new_ones_come(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    oldest_first = await factories.recorded(services, "alice", workflow_id, 11)

    # An odd size parts the pairs that were created at the same time.
    pages = [await page(alice, first=3)]
    while pages[-1]["pageInfo"]["hasNextPage"]:
        await factories.recorded(services, "alice", workflow_id, 2)
        pages.append(await page(alice, first=3, after=pages[-1]["pageInfo"]["endCursor"]))

    assert [len(found["nodes"]) for found in pages] == [3, 3, 3, 2]
    assert [id for found in pages for id in ids(found)] == oldest_first[::-1]
    assert [found["pageInfo"]["hasPreviousPage"] for found in pages] == [False, True, True, True]


async def test_behind_the_last_there_is_nothing(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    await factories.recorded(services, "alice", workflow_id, 2)
    last = (await page(alice))["pageInfo"]["endCursor"]

    beyond = await page(alice, after=last)

    assert beyond["nodes"] == []
    assert not beyond["pageInfo"]["hasNextPage"]


async def test_the_total_is_that_of_the_callers_whole_list(
    alice: Client, bob: Client, services: Services
) -> None:
    for user, client, count in (("alice", alice, 3), ("bob", bob, 1)):
        workflow_id = await factories.workflow(client, "orders")
        await factories.recorded(services, user, workflow_id, count)

    lists = [
        (await user.data("{ executions(first: 1) { totalCount nodes { startedBy } } }"))["executions"]
        for user in (alice, bob)
    ]

    assert lists == [
        {"totalCount": 3, "nodes": [{"startedBy": "alice"}]},
        {"totalCount": 1, "nodes": [{"startedBy": "bob"}]},
    ]


async def test_nothing_falls_between_the_list_and_the_feed(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    await factories.recorded(services, "alice", workflow_id, 2)

    listed = (await alice.data("{ executions { feedCursor totalCount } }"))["executions"]
    new = await factories.recorded(services, "alice", workflow_id, 1)

    assert listed["totalCount"] == 2
    async with aclosing(alice.watch(factories.FEED, after=listed["feedCursor"])) as feed:
        event = (await anext(feed))["executionFeed"]
    assert (event["type"], event["execution"]["id"]) == ("EXECUTION_CREATED", new[0])


async def test_the_feed_of_a_new_user_can_be_watched_from_its_beginning(
    alice: Client, services: Services
) -> None:
    listed = (await alice.data("{ executions { feedCursor } }"))["executions"]
    workflow_id = await factories.workflow(alice, "orders")
    new = await factories.recorded(services, "alice", workflow_id, 1)

    async with aclosing(alice.watch(factories.FEED, after=listed["feedCursor"])) as feed:
        event = (await anext(feed))["executionFeed"]

    assert event["execution"]["id"] == new[0]


async def test_nested_fields_are_batched(statements: list[str], alice: Client, services: Services) -> None:
    for _ in range(2):
        workflow_id = await factories.workflow(alice, "orders")
        await factories.recorded(services, "alice", workflow_id, 10)

    counts = []
    for selection in (
        "nodes { id }",
        "nodes { workflow { name } }",
        "nodes { workflow { name } } totalCount",
        "nodes { workflow { name inputSchema } input output } totalCount feedCursor",
    ):
        statements.clear()
        found = await alice.data(f"{{ executions(first: 20) {{ {selection} }} }}")
        assert len(found["executions"]["nodes"]) == 20
        counts.append(len(statements))

    assert counts == [1, 2, 3, 6]
