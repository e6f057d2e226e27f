"""Execution.history: an execution's events, oldest first, page by page from either end."""

from typing import Any

import pytest

from resolvers.context import Services
from tests import factories
from tests.client import Client

PAGE = """
query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String, $types: [ExecutionEventType!]) {
  execution(id: $id) {
    history(first: $first, after: $after, last: $last, before: $before, types: $types) {
      totalCount
      edges { cursor node { id } }
      nodes { id cursor type status version message timestamp actor details execution { id status version } }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }
}
"""


async def page(client: Client, id: str, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await client.data(PAGE, id=id, **variables))["execution"]["history"]
    assert found["edges"] == [
        {"cursor": node["cursor"], "node": {"id": node["id"]}} for node in found["nodes"]
    ]
    cursors = [node["cursor"] for node in found["nodes"]] or [None]
    assert found["pageInfo"]["startCursor"] == cursors[0]
    assert found["pageInfo"]["endCursor"] == cursors[-1]
    return found


async def test_it_holds_what_the_subscription_tells(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.paid(alice, worker)

    told = await factories.events(alice, started["id"])

    found = await page(alice, started["id"])
    # The subscription tells the execution as it was then or later, the history as it is now.
    now = {"id": started["id"], "status": "COMPLETED", "version": 6}
    assert found["nodes"] == [{**event, "execution": now} for event in told]
    assert found["totalCount"] == 6


async def test_pages_lead_from_the_first_event_to_the_last(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.paid(alice, worker)
    told = await factories.events(alice, started["id"])

    pages = [await page(alice, started["id"], first=4)]
    pages.append(await page(alice, started["id"], first=4, after=pages[0]["pageInfo"]["endCursor"]))
    beyond = await page(alice, started["id"], after=pages[1]["pageInfo"]["endCursor"])

    ids = [[node["id"] for node in found["nodes"]] for found in pages]
    assert ids == [[event["id"] for event in told[:4]], [event["id"] for event in told[4:]]]
    around = [
        (found["pageInfo"]["hasPreviousPage"], found["pageInfo"]["hasNextPage"]) for found in (*pages, beyond)
    ]
    assert around == [(False, True), (True, False), (True, False)]
    assert [found["totalCount"] for found in (*pages, beyond)] == [6, 6, 6]
    assert beyond["nodes"] == []


async def test_it_leaves_out_other_executions_of_the_same_feed(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    ids = await factories.recorded(services, "alice", workflow_id, 3)

    found = [await page(alice, id) for id in ids]

    assert [[node["id"] for node in each["nodes"]] for each in found] == [[f"{id}:1"] for id in ids]
    cursors = [each["pageInfo"]["endCursor"] for each in found]
    assert len(set(cursors)) == 3
    # A cursor is a place in the feed, which all of them share.
    assert (await page(alice, ids[2], after=cursors[0]))["nodes"] == found[2]["nodes"]
    assert (await page(alice, ids[0], after=cursors[2]))["nodes"] == []


async def test_no_page_is_smaller_than_one_or_larger_than_a_hundred(
    alice: Client, services: Services, subtests: pytest.Subtests
) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)

    for first in (-1, 0, 101):
        with subtests.test(str(first)):
            error = await alice.error(PAGE, id=id, first=first)

            assert error["path"] == ["execution", "history"]
            assert error["extensions"]["issues"] == [
                {"path": "/first", "message": f"must be between 1 and 100, not {first}"}
            ]


async def test_the_cursor_of_another_list_is_refused(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    foreign = (await alice.data("{ executions { pageInfo { endCursor } } }"))["executions"]["pageInfo"]

    error = await alice.error(PAGE, id=id, after=foreign["endCursor"])

    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert [issue["path"] for issue in error["extensions"]["issues"]] == ["/after"]


async def test_a_page_is_two_statements_and_counting_is_one_more(
    statements: list[str], alice: Client, services: Services
) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)

    counts = []
    for selection in ("nodes { id }", "nodes { id } totalCount", "nodes { id execution { status } }"):
        statements.clear()
        await alice.data(f'{{ execution(id: "{id}") {{ history {{ {selection} }} }} }}')
        counts.append(len(statements))

    assert counts == [2, 3, 3]


async def test_the_last_events_come_in_the_order_of_the_first(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    await factories.note(services, id, 4)

    last = await page(alice, id, last=2)
    before = await page(alice, id, last=2, before=last["pageInfo"]["startCursor"])
    nearest = await page(alice, id, before=before["pageInfo"]["startCursor"])

    versions = [[node["version"] for node in found["nodes"]] for found in (nearest, before, last)]
    assert versions == [[1], [2, 3], [4, 5]]
    around = [
        (found["pageInfo"]["hasPreviousPage"], found["pageInfo"]["hasNextPage"])
        for found in (nearest, before, last)
    ]
    assert around == [(False, True), (True, True), (True, False)]


async def test_only_events_of_some_types_may_be_asked_for(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    await factories.note(services, id, 3)

    updates = await page(alice, id, types=["EXECUTION_UPDATED", "TIMER_FIRED"], last=2)
    none, every = await page(alice, id, types=[]), await page(alice, id, types=None)

    assert [node["version"] for node in updates["nodes"]] == [3, 4]
    assert (updates["totalCount"], updates["pageInfo"]["hasPreviousPage"]) == (3, True)
    assert (none["nodes"], none["totalCount"]) == ([], 0)
    assert every["totalCount"] == 4
