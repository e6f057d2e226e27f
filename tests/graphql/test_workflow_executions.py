"""Workflow.executions: the part of the caller's executions that is one workflow's."""

from typing import Any
from uuid import UUID, uuid4

from resolvers.context import Services
from tests import factories
from tests.client import Api, Client

PAGE = """
query (
  $id: ID!, $first: Int, $after: String, $page: Int, $filter: ExecutionFilter, $orderBy: ExecutionOrder
) {
  workflow(id: $id) {
    executions(first: $first, after: $after, page: $page, filter: $filter, orderBy: $orderBy) {
      totalCount pageCount
      nodes { id }
      pageInfo { hasNextPage hasPreviousPage endCursor }
    }
  }
}
"""
EACH = """
{
  workflows {
    nodes { id executions(first: 2, filter: {%s}) { totalCount pageCount feedCursor nodes { id } } }
  }
}
"""


async def page(client: Client, id: str, **variables: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await client.data(PAGE, id=id, **variables))["workflow"]["executions"]
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [node["id"] for node in found["nodes"]]


async def test_pages_lead_through_its_own_alone(alice: Client, services: Services) -> None:
    mine, other = [await factories.workflow(alice, "orders") for _ in range(2)]
    newest_first = (await factories.recorded(services, "alice", mine, 5))[::-1]
    await factories.recorded(services, "alice", other, 2)

    first = await page(alice, mine, first=3)
    rest = await page(alice, mine, first=3, after=first["pageInfo"]["endCursor"])
    second = await page(alice, mine, first=3, page=2)
    oldest = await page(alice, mine, first=1, orderBy={"field": "UPDATED_AT", "direction": "ASC"})

    assert [ids(first), ids(rest)] == [newest_first[:3], newest_first[3:]]
    assert second["nodes"] == rest["nodes"]
    assert len(ids(oldest)) == 1
    assert [(each["totalCount"], each["pageCount"]) for each in (first, rest)] == [(5, 2), (5, 2)]
    assert (first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (True, False)


async def test_a_cursor_belongs_to_one_workflow(alice: Client, services: Services) -> None:
    mine, other = [await factories.workflow(alice, "orders") for _ in range(2)]
    await factories.recorded(services, "alice", mine, 2)
    cursor = (await page(alice, mine, first=1))["pageInfo"]["endCursor"]

    error = await alice.error(PAGE, id=other, after=cursor)
    same = await alice.data(
        "query ($filter: ExecutionFilter, $after: String) {"
        " executions(filter: $filter, after: $after) { nodes { id } } }",
        filter={"workflowId": [mine]},
        after=cursor,
    )

    assert "another filter" in error["message"]
    # It is the list of all executions of that workflow, by whatever way.
    assert len(same["executions"]["nodes"]) == 1


async def test_a_filter_narrows_it_further(alice: Client, services: Services) -> None:
    mine, other = [await factories.workflow(alice, "orders") for _ in range(2)]
    (labelled,) = await factories.recorded(services, "alice", mine, 1, labels={"env": "prod"})
    await factories.recorded(services, "alice", mine, 1)

    prod = await page(alice, mine, filter={"labels": [{"key": "env", "value": "prod"}]})
    both = await page(alice, mine, filter={"workflowId": [mine, other], "status": ["PENDING"]})
    none = await page(alice, mine, filter={"workflowId": [other]})

    assert (ids(prod), prod["totalCount"]) == ([labelled], 1)
    assert (len(ids(both)), both["totalCount"]) == (2, 2)
    assert (ids(none), none["totalCount"], none["pageCount"]) == ([], 0, 0)


async def test_many_workflows_have_theirs_read_together(
    statements: list[str], alice: Client, services: Services
) -> None:
    expected = {}
    for count in (0, 1, 3):
        workflow_id = await factories.workflow(alice, "orders")
        newest_first = (await factories.recorded(services, "alice", workflow_id, count))[::-1]
        expected[workflow_id] = (count, newest_first[:2])

    counts = []
    for chosen in ("", 'search: "recorded"'):
        statements.clear()
        found = (await alice.data(EACH % chosen))["workflows"]["nodes"]
        counts.append(len(statements))
        lists = {node["id"]: node["executions"] for node in found}
        assert {id: (each["totalCount"], ids(each)) for id, each in lists.items()} == expected

    # The workflows, the feed's position, the pages, the totals.
    assert counts == [4, 4]


async def test_it_needs_the_scope_for_executions(api: Api, alice: Client) -> None:
    id = await factories.workflow(alice, "orders")

    async with api.client("alice", "workflows:read") as reader:
        error = await reader.error(PAGE, id=id)

    assert error["path"] == ["workflow", "executions"]
    assert error["extensions"] == {"code": "FORBIDDEN", "requiredScope": "executions:read"}


async def test_an_admin_sees_each_owners(api: Api, alice: Client, bob: Client, services: Services) -> None:
    for user, client in (("alice", alice), ("bob", bob)):
        await factories.recorded(services, user, await factories.workflow(client, "orders"), 1)

    async with api.client("root", "admin") as root:
        found = (await root.data(EACH % ""))["workflows"]["nodes"]

    assert [node["executions"]["totalCount"] for node in found] == [1, 1]
    assert len({UUID(id) for node in found for id in ids(node["executions"])} | {uuid4()}) == 3
