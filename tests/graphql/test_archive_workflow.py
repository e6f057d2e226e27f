"""archiveWorkflow: no more starts, and nothing else is lost."""

from typing import Any
from uuid import uuid4

import pytest

from tests import factories
from tests.client import Api, Client
from tests.factories import ARCHIVE_WORKFLOW


async def archive(client: Client, id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.data(ARCHIVE_WORKFLOW, id=id))["archiveWorkflow"]
    return found


async def test_an_archived_one_is_not_started_and_its_executions_stay(alice: Client) -> None:
    started = await factories.stuck(alice)
    query = "query ($id: ID!) { execution(id: $id) { status workflow { id archivedAt } } }"
    workflow = (await alice.data(query, id=started["id"]))["execution"]["workflow"]
    assert workflow["archivedAt"] is None

    archived = await archive(alice, workflow["id"])
    refused = await alice.data(factories.START, input={"workflowId": workflow["id"]})

    assert archived["workflow"]["archivedAt"]
    assert refused["startExecution"]["__typename"] == "InvalidInputError"
    after = (await alice.data(query, id=started["id"]))["execution"]
    assert after == {
        "status": "RUNNING",
        "workflow": {"id": workflow["id"], "archivedAt": archived["workflow"]["archivedAt"]},
    }
    listed = await alice.data("{ workflows { totalCount } }")
    assert listed["workflows"]["totalCount"] == 0
    await factories.asked(alice, factories.TERMINATE, started["id"])


async def test_archiving_again_changes_nothing(alice: Client) -> None:
    id = await factories.workflow(alice, "q")

    first, second = await archive(alice, id), await archive(alice, id)

    assert first == second


@pytest.mark.parametrize(("user", "scopes"), [("bob", ()), ("alice", ("workflows:read",))])
async def test_who_may_not_is_refused_and_nothing_happens(
    alice: Client, api: Api, user: str, scopes: tuple[str, ...]
) -> None:
    id = await factories.workflow(alice, "q")

    async with api.client(user, *scopes) as other:
        refused = await archive(other, id)

    assert refused["__typename"] == "ForbiddenError"
    found = await alice.data("query ($id: ID!) { workflow(id: $id) { archivedAt } }", id=id)
    assert found["workflow"]["archivedAt"] is None


async def test_an_unknown_one_is_not_found(alice: Client) -> None:
    assert (await archive(alice, str(uuid4())))["__typename"] == "NotFoundError"
