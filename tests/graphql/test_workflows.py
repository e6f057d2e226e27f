"""workflows: the caller's, by age or by name, page by page from either end."""

from typing import Any

import pytest

from resolvers.context import Services
from tests import factories
from tests.client import Client

PAGE = """
query (
  $first: Int, $after: String, $last: Int, $before: String
  $search: String, $includeArchived: Boolean! = false, $orderBy: WorkflowOrder
) {
  workflows(
    first: $first, after: $after, last: $last, before: $before
    search: $search, includeArchived: $includeArchived, orderBy: $orderBy
  ) {
    edges { cursor node { id } }
    nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
NAMES = "query ($all: Boolean!) { workflows(includeArchived: $all) { totalCount nodes { name } } }"


async def create(client: Client, count: int) -> list[str]:
    """Workflows' ids, newest first."""
    ids = [await factories.workflow(client, "orders", name=f"Order {place}") for place in range(count)]
    return ids[::-1]


async def page(client: Client, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await client.data(PAGE, **variables))["workflows"]
    assert [edge["node"] for edge in found["edges"]] == found["nodes"]
    cursors = [edge["cursor"] for edge in found["edges"]] or [None]
    assert found["pageInfo"]["startCursor"] == cursors[0]
    assert found["pageInfo"]["endCursor"] == cursors[-1]
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [node["id"] for node in found["nodes"]]


async def test_pages_lead_from_the_newest_to_the_oldest(alice: Client) -> None:
    created = await create(alice, 5)

    first = await page(alice, first=2)
    second = await page(alice, first=2, after=first["pageInfo"]["endCursor"])
    third = await page(alice, first=2, after=second["pageInfo"]["endCursor"])

    assert [ids(first), ids(second), ids(third)] == [created[:2], created[2:4], created[4:]]
    around = [
        (found["pageInfo"]["hasPreviousPage"], found["pageInfo"]["hasNextPage"])
        for found in (first, second, third)
    ]
    assert around == [(False, True), (True, True), (True, False)]


async def test_behind_the_last_there_is_nothing(alice: Client) -> None:
    await create(alice, 1)
    last = (await page(alice))["pageInfo"]["endCursor"]

    beyond = await page(alice, after=last)

    assert beyond["nodes"] == []
    assert not beyond["pageInfo"]["hasNextPage"]


async def test_ten_are_listed_by_default_and_a_hundred_may_be(alice: Client) -> None:
    created = await create(alice, 11)

    usual, most = await page(alice), await page(alice, first=100)

    assert ids(usual) == created[:10]
    assert usual["pageInfo"]["hasNextPage"]
    assert ids(most) == created
    assert not most["pageInfo"]["hasNextPage"]


async def test_no_other_size_is_possible(alice: Client, subtests: pytest.Subtests) -> None:
    for first in (-1, 0, 101):
        with subtests.test(str(first)):
            error = await alice.error(PAGE, first=first)

            assert error["extensions"] == {
                "code": "INVALID_INPUT",
                "issues": [{"path": "/first", "message": f"must be between 1 and 100, not {first}"}],
            }


async def test_archived_ones_are_listed_and_counted_on_request(alice: Client, services: Services) -> None:
    archived = await factories.workflow(alice, "orders", name="archived")
    await factories.workflow(alice, "orders", name="present")
    await factories.archive(services, archived)

    present, everything = [(await alice.data(NAMES, all=all))["workflows"] for all in (False, True)]

    assert present == {"totalCount": 1, "nodes": [{"name": "present"}]}
    assert everything == {"totalCount": 2, "nodes": [{"name": "present"}, {"name": "archived"}]}


async def test_each_user_has_a_list_of_their_own(alice: Client, bob: Client) -> None:
    await factories.workflow(alice, "orders", name="Alice's")
    await factories.workflow(bob, "orders", name="Bob's")

    lists = [(await user.data(NAMES, all=True))["workflows"] for user in (alice, bob)]

    assert lists == [
        {"totalCount": 1, "nodes": [{"name": "Alice's"}]},
        {"totalCount": 1, "nodes": [{"name": "Bob's"}]},
    ]


async def test_a_page_is_one_statement_and_each_extra_one_more(statements: list[str], alice: Client) -> None:
    await create(alice, 3)

    counts = []
    for selection in ("nodes { name }", "nodes { name } totalCount", "nodes { inputSchema } totalCount"):
        statements.clear()
        await alice.data(f"{{ workflows {{ {selection} }} }}")
        counts.append(len(statements))

    assert counts == [1, 2, 3]


async def test_pages_lead_through_the_names_from_either_end(alice: Client) -> None:
    fruits = ("pear", "fig", "apple", "kiwi")
    names = {name: await factories.workflow(alice, "orders", name=name) for name in fruits}
    sorted_ids = [names[name] for name in sorted(names)]
    by_name = {"field": "NAME", "direction": "ASC"}

    first = await page(alice, first=3, orderBy=by_name)
    rest = await page(alice, after=first["pageInfo"]["endCursor"], orderBy=by_name)
    last = await page(alice, last=3, orderBy=by_name)
    before = await page(alice, last=3, before=last["pageInfo"]["startCursor"], orderBy=by_name)
    descending = await page(alice, orderBy={"field": "NAME"})

    assert ids(first) + ids(rest) == sorted_ids
    assert ids(before) + ids(last) == sorted_ids
    assert ids(descending) == sorted_ids[::-1]


async def test_a_cursor_belongs_to_one_order_and_one_search(alice: Client) -> None:
    await create(alice, 2)
    cursor = (await page(alice, first=1))["pageInfo"]["endCursor"]

    errors = [
        await alice.error(PAGE, after=cursor, orderBy={"field": "NAME"}),
        await alice.error(PAGE, after=cursor, search="order"),
        await alice.error(PAGE, after=cursor, includeArchived=True),
        await alice.error(PAGE, first=1, last=1),
    ]

    assert [error["extensions"]["code"] for error in errors] == ["INVALID_INPUT"] * 4
    assert "another order, CREATED_AT DESC: this list is in the order NAME DESC" in errors[0]["message"]
    assert "another filter" in errors[1]["message"]
    assert "another filter" in errors[2]["message"]


async def test_a_search_finds_a_part_of_the_name(alice: Client, bob: Client) -> None:
    order = await factories.workflow(alice, "orders", name="Order 100%")
    await factories.workflow(alice, "orders", name="Payment")
    await factories.workflow(bob, "orders", name="Order")

    texts = ("ORDER", " 100% ", "0%", "r", "%0", "r_er", "x")
    found = {text: ids(await page(alice, search=text)) for text in texts}
    total = await alice.data('{ workflows(search: "order") { totalCount } }')

    assert found == {text: [order] if place < 4 else [] for place, text in enumerate(texts)}
    assert total == {"workflows": {"totalCount": 1}}


async def test_a_search_for_nothing_or_too_much_is_refused(alice: Client, subtests: pytest.Subtests) -> None:
    for text in ("", "  ", "x" * 256, "\x00"):
        with subtests.test(text[:5]):
            error = await alice.error(PAGE, search=text)

            assert [issue["path"] for issue in error["extensions"]["issues"]] == ["/search"]
