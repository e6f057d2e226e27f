"""executions: the caller's, in any order, under any filter, page by page from either end."""

from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlmodel import col, update

from app.tables import Execution
from resolvers.context import Services
from schema.executor import OperationExecutor
from tests import factories
from tests.client import Api, Client
from tests.twice import Undirected

PAGE = """
query (
  $first: Int, $after: String, $last: Int, $before: String, $page: Int,
  $filter: ExecutionFilter, $orderBy: ExecutionOrder
) {
  executions(
    first: $first, after: $after, last: $last, before: $before, page: $page
    filter: $filter, orderBy: $orderBy
  ) {
    edges { cursor node { id } }
    nodes { id }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
RENDERED = """
query ($first: Int) {
  executions(first: 2) {
    edges { cursor node { ...Shown } }
    nodes { ...Shown }
    pageInfo { hasNextPage endCursor }
  }
}
fragment Shown on Execution {
  __typename
  row: id order: version Order: updatedAt select: status _1: id
  status version input output startedBy temporalWorkflowId temporalRunId
  createdAt startedAt completedAt updatedAt duration
  labels { key value }
  failure { __typename why: reason message type activityType stackTrace }
  workflow { __typename object: id name description workflowType executionTimeout archivedAt }
  history(first: $first) {
    __typename
    nodes { ... on Node { id } type status version message timestamp actor details __typename }
  }
}
"""
FAILURE = ("reason", "message", "type", "activity_type", "stack_trace")
COUNT = "query ($filter: ExecutionFilter) { executions(filter: $filter) { totalCount pageCount } }"


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


async def test_totals_by_workflow_and_status_are_read_from_tallies(
    statements: list[str], alice: Client, services: Services, subtests: pytest.Subtests
) -> None:
    id = await factories.workflow(alice, "orders")
    await factories.recorded(services, "alice", id, 3, labels={"env": "prod"})
    filters = [
        ("{}", True),
        (f'{{workflowId: ["{id}"]}}', True),
        ("{status: [PENDING, RUNNING]}", True),
        (f'{{workflowId: ["{id}"], status: [PENDING]}}', True),
        ('{labels: [{key: "env", value: "prod"}]}', False),
    ]

    for chosen, tallied in filters:
        for parent in ("%s", f'workflow(id: "{id}") {{ %s }}'):
            with subtests.test(chosen, parent=parent):
                statements.clear()
                field = f"executions(filter: {chosen}) {{ totalCount }}"
                found = await alice.data(f"{{ {parent % field} }}")

                assert found.get("workflow", found)["executions"]["totalCount"] == 3
                assert any("execution_tally" in each for each in statements) is tallied
                assert any("count(*)" in each for each in statements) is not tallied
                # Besides the workflow, where there is one: no page of rows that nobody selects.
                assert len(statements) == 1 + ("workflow" in found)


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


async def test_the_pages_lead_back_from_the_last(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    newest_first = (await factories.recorded(services, "alice", workflow_id, 5))[::-1]

    last = await page(alice, last=2)
    middle = await page(alice, last=2, before=last["pageInfo"]["startCursor"])
    first = await page(alice, before=middle["pageInfo"]["startCursor"])

    assert [ids(first), ids(middle), ids(last)] == [newest_first[:1], newest_first[1:3], newest_first[3:]]
    around = [
        (found["pageInfo"]["hasPreviousPage"], found["pageInfo"]["hasNextPage"])
        for found in (first, middle, last)
    ]
    assert around == [(False, True), (True, True), (True, False)]


async def test_pages_have_numbers_too(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    newest_first = (await factories.recorded(services, "alice", workflow_id, 5))[::-1]

    pages = [await page(alice, first=2, page=number) for number in (1, 2, 3, 4)]
    counts = await alice.data("{ executions(first: 2) { pageCount totalCount } }")

    assert [ids(found) for found in pages] == [newest_first[:2], newest_first[2:4], newest_first[4:], []]
    assert [found["pageInfo"]["hasNextPage"] for found in pages] == [True, True, False, False]
    assert counts == {"executions": {"pageCount": 3, "totalCount": 5}}


async def test_what_contradicts_itself_is_refused(
    alice: Client, services: Services, subtests: pytest.Subtests
) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    await factories.recorded(services, "alice", workflow_id, 1)
    cursor = (await page(alice))["pageInfo"]["endCursor"]
    wrong: list[tuple[dict[str, Any], list[str]]] = [
        ({"first": 1, "last": 1}, ["/last"]),
        ({"page": 1, "after": cursor}, ["/after"]),
        ({"page": 1, "last": 1, "before": cursor}, ["/last", "/before"]),
        ({"page": 0}, ["/page"]),
        ({"page": 101, "first": 100}, ["/page"]),
        ({"last": 101}, ["/last"]),
    ]

    for variables, paths in wrong:
        with subtests.test(str(variables)):
            error = await alice.error(PAGE, **variables)

            assert error["extensions"]["code"] == "INVALID_INPUT"
            assert [issue["path"] for issue in error["extensions"]["issues"]] == paths


async def test_a_cursor_belongs_to_one_order_and_one_filter(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    await factories.recorded(services, "alice", workflow_id, 2)
    cursor = (await page(alice, first=1))["pageInfo"]["endCursor"]
    workflows = await alice.data("{ workflows { pageInfo { endCursor } } }")

    errors = [
        await alice.error(PAGE, after=cursor, orderBy={"field": "UPDATED_AT"}),
        await alice.error(PAGE, after=cursor, orderBy={"direction": "ASC"}),
        await alice.error(PAGE, before=cursor, filter={"status": ["PENDING"]}),
        await alice.error(PAGE, after=workflows["workflows"]["pageInfo"]["endCursor"]),
    ]

    assert [error["extensions"]["code"] for error in errors] == ["INVALID_INPUT"] * 4
    messages = [error["message"] for error in errors]
    assert "another order, CREATED_AT DESC: this list is in the order UPDATED_AT DESC" in messages[0]
    assert "another order, CREATED_AT DESC: this list is in the order CREATED_AT ASC" in messages[1]
    assert messages[2].startswith("/before: is a cursor of another filter")
    assert messages[3] == "/after: is not a cursor of this list; pass one that it returned"
    # The same filter written in another way is the same.
    one = await page(alice, first=1, filter={"status": ["PENDING", "RUNNING"], "labels": []})
    again = {"status": ["RUNNING", "PENDING", "RUNNING"], "search": None}
    assert len(ids(await page(alice, after=one["pageInfo"]["endCursor"], filter=again))) == 1


async def test_each_order_has_two_directions(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    oldest, newer, newest = await factories.recorded(services, "alice", workflow_id, 3)
    at = [datetime(2026, 1, day, tzinfo=UTC) for day in (8, 9, 10)]
    async with services.db.write() as tx:
        for id, values in (
            (oldest, {"created_at": at[0], "started_at": at[2], "completed_at": None, "updated_at": at[1]}),
            (newer, {"created_at": at[1], "started_at": at[1], "completed_at": at[2], "updated_at": at[0]}),
            (newest, {"created_at": at[2], "started_at": None, "completed_at": at[1], "updated_at": at[2]}),
        ):
            await tx.connection.execute(
                update(Execution).where(col(Execution.id) == UUID(id)).values(**values)
            )
    ascending = {
        "CREATED_AT": [oldest, newer, newest],
        "STARTED_AT": [newer, oldest, newest],
        "COMPLETED_AT": [newest, newer, oldest],
        "UPDATED_AT": [newer, oldest, newest],
    }

    for field, expected in ascending.items():
        assert ids(await page(alice, orderBy={"field": field, "direction": "ASC"})) == expected
        assert ids(await page(alice, orderBy={"field": field})) == expected[::-1]
    assert ids(await page(alice, orderBy={})) == [newest, newer, oldest]


async def test_every_part_of_a_filter_must_hold(
    alice: Client, services: Services, subtests: pytest.Subtests
) -> None:
    orders = await factories.workflow(alice, "orders", name="Orders")
    payments = await factories.workflow(alice, "orders", name="Payments")
    (labelled,) = await factories.recorded(services, "alice", orders, 1, labels={"env": "prod", "team": "a"})
    (other,) = await factories.recorded(services, "alice", orders, 1, labels={"env": "test"})
    (paid,) = await factories.recorded(services, "alice", payments, 1)
    env, team = {"key": "env", "value": "prod"}, {"key": "team", "value": "a"}
    expected: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {labelled, other, paid}),
        ({"workflowId": [orders]}, {labelled, other}),
        ({"workflowId": [orders, payments]}, {labelled, other, paid}),
        ({"workflowId": [str(uuid4())]}, set()),
        ({"workflowId": []}, set()),
        ({"status": ["PENDING"]}, {labelled, other, paid}),
        ({"status": ["RUNNING", "FAILED"]}, set()),
        ({"status": []}, set()),
        ({"labels": [env]}, {labelled}),
        ({"labels": [env, team]}, {labelled}),
        ({"labels": [team, {"key": "env", "value": "test"}]}, set()),
        ({"labels": []}, {labelled, other, paid}),
        ({"search": "  PAYM "}, {paid}),
        ({"search": "prod"}, {labelled}),
        ({"search": "TEAM"}, {labelled}),
        ({"search": other[:13]}, {other}),
        ({"search": "nv"}, {labelled, other}),
        ({"search": "order", "workflowId": [payments]}, set()),
        ({"createdAt": {"from": "2026-01-01T00:00:00Z"}, "search": "order"}, {labelled, other}),
        ({"createdAt": {"to": "2026-01-01T00:00:00Z"}}, set()),
        ({"completedAt": {"from": "2026-01-01T00:00:00Z"}}, set()),
        ({"completedAt": {"from": None, "to": None}}, {labelled, other, paid}),
        # The first and the last that there are.
        ({"completedAt": {"to": "9999-12-31T23:59:59.999999Z"}}, set()),
        ({"createdAt": {"from": "0001-01-01T00:00:00Z"}}, {labelled, other, paid}),
        ({"createdAt": {"to": "9999-12-31T23:59:59.999999Z"}}, {labelled, other, paid}),
        (dict.fromkeys(("workflowId", "status", "labels", "search", "createdAt")), {labelled, other, paid}),
    ]

    for chosen, found in expected:
        with subtests.test(str(chosen)):
            assert set(ids(await page(alice, filter=chosen))) == found
            counted = await alice.data(COUNT, filter=chosen)
            assert counted == {"executions": {"totalCount": len(found), "pageCount": min(1, len(found))}}


async def test_a_filter_out_of_bounds_is_refused(alice: Client, subtests: pytest.Subtests) -> None:
    many = [{"key": f"key{place}", "value": ""} for place in range(101)]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"workflowId": [str(uuid4()) for _ in range(101)]}, "/filter/workflowId"),
        ({"labels": many}, "/filter/labels"),
        ({"labels": [{"key": "x" * 256, "value": ""}]}, "/filter/labels"),
        ({"labels": [{"key": "x", "value": "\x00"}]}, "/filter/labels"),
        ({"search": ""}, "/filter/search"),
        ({"search": "   "}, "/filter/search"),
        ({"search": "x" * 256}, "/filter/search"),
        ({"search": "a\x00b"}, "/filter/search"),
        ({"search": "a\nb"}, "/filter/search"),
    ]

    for chosen, path in wrong:
        with subtests.test(str(chosen)[:60]):
            error = await alice.error(PAGE, filter=chosen)

            assert error["extensions"]["code"] == "INVALID_INPUT"
            assert [issue["path"] for issue in error["extensions"]["issues"]] == [path]


async def test_an_admin_finds_everybodys_but_not_by_two_letters(
    api: Api, alice: Client, bob: Client, services: Services
) -> None:
    for user, client in (("alice", alice), ("bob", bob)):
        workflow_id = await factories.workflow(client, "orders", name="Orders")
        await factories.recorded(services, user, workflow_id, 1)

    async with api.client("root", "admin") as root:
        found = await root.data(COUNT, filter={"search": "orders"})
        error = await root.error(PAGE, filter={"search": "or"})

    assert found == {"executions": {"totalCount": 2, "pageCount": 1}}
    assert error["extensions"]["issues"] == [
        {"path": "/filter/search", "message": "must have 3 characters at least in a list of all owners"}
    ]


async def test_nested_fields_are_batched(statements: list[str], alice: Client, services: Services) -> None:
    for _ in range(2):
        workflow_id = await factories.workflow(alice, "orders")
        first, *_ = await factories.recorded(services, "alice", workflow_id, 5)
        await factories.recorded(services, "alice", workflow_id, 5, rerun_of=UUID(first))

    counts = {}
    for selection, expected in (
        ("nodes { id labels { key } }", 1),
        ("nodes { workflow { name } }", 2),
        ("nodes { workflow { name } } totalCount pageCount", 3),
        ("nodes { workflow { name inputSchema } input output } totalCount feedCursor", 5),
        ("nodes { rerunOf { id workflow { name } } }", 3),
        ("nodes { history(first: 5) { nodes { type execution { status } } totalCount } }", 4),
        ("nodes { history(first: 1) { nodes { type } } later: history(last: 2) { nodes { type } } }", 3),
        (
            "nodes { workflow { name } rerunOf { id } history(first: 5) { nodes { type } } input output } "
            "totalCount",
            5,
        ),
        ("nodes { workflow { executions(first: 2) { nodes { id } totalCount feedCursor } } }", 5),
    ):
        statements.clear()
        found = await alice.data(f"{{ executions(first: 20) {{ {selection} }} }}")
        assert len(found["executions"]["nodes"]) == 20
        counts[selection] = (len(statements), expected)

    assert {name: both for name, both in counts.items() if both[0] != both[1]} == {}


async def test_input_and_output_are_read_only_when_selected(
    statements: list[str], alice: Client, services: Services
) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    await factories.recorded(services, "alice", workflow_id, 2)

    read = []
    for selection in (
        "nodes { id failure { message } labels { key } }",
        "nodes { input }",
        "edges { node { ... on Execution { output } } }",
    ):
        statements.clear()
        await alice.data(f"{{ executions {{ {selection} }} }}")
        (statement,) = statements
        read.append("execution.input" in statement)

    assert read == [False, True, True]


@pytest.mark.parametrize("first", [{}, {"first": None}, {"first": 2}, {"first": 0}])
async def test_what_postgres_renders_is_what_is_answered_otherwise(
    statements: list[str], alice: Client, services: Services, first: dict[str, Any]
) -> None:
    workflow_id = await factories.workflow(alice, "nobody", name='Say "größe" \\ %')
    start = datetime(2026, 1, 8, 12, 0, 0, 123_456, UTC)
    ids = await factories.recorded(
        services,
        "alice",
        workflow_id,
        1,
        input={"any": ["thing", None, 1.5]},
        labels={"z": "1", "A": 'say "hi"', "a": "größe", "ä": "", "_": "\n", "10": "x", "9": "y"},
        failure={**dict.fromkeys(FAILURE), "reason": "TIMED_OUT", "message": 'said "no"\u2028'},
        started_at=start,
        completed_at=start + timedelta(days=1, microseconds=1),
    )
    await factories.note(services, ids[-1], 3, {"more": [{"a": "\u0001"}]})
    await factories.recorded(
        services, "alice", workflow_id, 1, started_at=start, completed_at=start - timedelta(1)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OperationExecutor, "directs", Undirected())
        expected = await alice.answer(RENDERED, **first)

    # It is rendered when the document is met again.
    await alice.answer(RENDERED, **first)
    statements.clear()
    answer = await alice.answer(RENDERED, **first)

    assert answer == expected
    assert len(statements) == 1 or "errors" in answer
