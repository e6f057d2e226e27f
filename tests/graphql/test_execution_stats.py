"""executionStats, as query and live, and Workflow.stats: exact counts, each user's own."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from app.auth import ADMIN, READ_WORKFLOWS
from app.db import Connection
from app.settings import Settings
from app.store import events
from resolvers.context import Services
from tests import factories
from tests.client import Api, Client, serving
from tests.eventually import eventually

COUNTS = "total byStatus { status count } durationP50 durationP95"
STATS = f"query ($filter: ExecutionStatsFilter) {{ executionStats(filter: $filter) {{ {COUNTS} }} }}"
WATCH = f"subscription ($filter: ExecutionStatsFilter) {{ executionStats(filter: $filter) {{ {COUNTS} }} }}"
TIMELINE = """
query ($filter: ExecutionStatsFilter, $bucket: TimeBucket!) {
  executionStats(filter: $filter) { timeline(bucket: $bucket) { start counts { status count } } }
}
"""
WORKFLOWS = f"""
query ($createdAt: DateTimeRange) {{
  workflows {{ nodes {{ id stats(createdAt: $createdAt) {{
    {COUNTS} timeline(bucket: HOUR) {{ start counts {{ count }} }} days: timeline(bucket: DAY) {{ start }}
  }} }} }}
}}
"""
DURATION = "query ($id: ID!) { execution(id: $id) { duration } }"
STATUSES = ["PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"]


def counts(answer: dict[str, Any]) -> dict[str, int]:
    """The counts that are not 0."""
    found = answer["executionStats"]
    assert [each["status"] for each in found["byStatus"]] == STATUSES
    assert found["total"] == sum(each["count"] for each in found["byStatus"])
    return {each["status"]: each["count"] for each in found["byStatus"] if each["count"]}


async def test_each_status_is_counted(alice: Client, tracker: None, worker: str) -> None:
    await factories.waiting(alice, worker)
    ended = await factories.paid(alice, worker)
    await factories.events(alice, ended["id"])

    async def settled() -> bool:
        return counts(await alice.data(STATS)) == {"RUNNING": 1, "COMPLETED": 1}

    await eventually(settled)
    found = (await alice.data(STATS))["executionStats"]
    execution = (await alice.data(DURATION, id=ended["id"]))["execution"]
    assert found["durationP50"] == pytest.approx(execution["duration"], rel=0.05, abs=0.002)
    assert found["durationP95"] == found["durationP50"]


async def test_before_anything_is_started_all_is_zero(alice: Client) -> None:
    found = (await alice.data(STATS))["executionStats"]

    assert found == {
        "total": 0,
        "byStatus": [{"status": status, "count": 0} for status in STATUSES],
        "durationP50": None,
        "durationP95": None,
    }
    assert (await alice.data(TIMELINE, bucket="HOUR"))["executionStats"]["timeline"] == []


async def test_a_filter_narrows_what_is_counted(alice: Client, services: Services) -> None:
    first, second = await factories.workflow(alice, "orders"), await factories.workflow(alice, "orders")
    await factories.recorded(services, "alice", first, 3)
    await factories.recorded(services, "alice", second, 1)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()

    async def counted(**chosen: Any) -> int:
        found: int = (await alice.data(STATS, filter=chosen))["executionStats"]["total"]
        return found

    assert await counted() == 4
    assert await counted(workflowId=[first]) == 3
    assert await counted(workflowId=[first, second]) == 4
    assert await counted(workflowId=[str(uuid4())]) == 0
    assert await counted(workflowId=[]) == 0
    assert await counted(createdAt={"from": tomorrow}) == 0
    assert await counted(createdAt={"to": tomorrow}, workflowId=[second]) == 1


async def test_everybody_counts_their_own_and_an_admin_everybodys(
    alice: Client, bob: Client, api: Api, services: Services
) -> None:
    mine, theirs = await factories.workflow(alice, "orders"), await factories.workflow(bob, "orders")
    await factories.recorded(services, "alice", mine, 2)
    await factories.recorded(services, "bob", theirs, 1)

    async with api.client("root", ADMIN) as root:
        everybody = (alice, bob, root)
        seen = [counts(await who.data(STATS)) for who in everybody]
        of_alices = [counts(await who.data(STATS, filter={"workflowId": [mine]})) for who in everybody]

    assert seen == [{"PENDING": 2}, {"PENDING": 1}, {"PENDING": 3}]
    assert of_alices == [{"PENDING": 2}, {}, {"PENDING": 2}]


async def test_a_timeline_counts_by_the_time_of_creation(alice: Client, services: Services) -> None:
    await factories.recorded(services, "alice", await factories.workflow(alice, "orders"), 2)
    end = datetime.now(UTC) + timedelta(hours=1)
    window = {"from": (end - timedelta(hours=3)).isoformat(), "to": end.isoformat()}

    answer = await alice.data(TIMELINE, bucket="HOUR", filter={"createdAt": window})
    found = answer["executionStats"]["timeline"]
    pending = [each["count"] for span in found for each in span["counts"] if each["status"] == "PENDING"]
    moments = [datetime.fromisoformat(span["start"]) for span in found]

    assert [len(span["counts"]) for span in found] == [len(STATUSES)] * len(found)
    assert sum(pending) == 2
    assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(hours=1)}
    assert (moments[0], moments[-1]) == (
        (end - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0),
        end.replace(minute=0, second=0, microsecond=0),
    )


async def test_a_timeline_that_is_too_long_is_refused(alice: Client, statements: list[str]) -> None:
    window = {"from": "2020-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
    statements.clear()

    error = await alice.error(TIMELINE, bucket="HOUR", filter={"createdAt": window})

    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert error["extensions"]["issues"] == [
        {
            "path": "/bucket",
            "message": (
                "HOUR makes 52,608 buckets of this time span; 1,000 is the most: "
                "ask for DAY or narrow `createdAt`"
            ),
        }
    ]
    assert len(statements) == 1, "the counts alone are read"


async def test_the_stats_of_many_workflows_are_read_together(
    statements: list[str], settings: Settings, services: Services
) -> None:
    generous = settings.model_copy(update={"max_cost": 10_000})
    async with serving(generous) as api, api.client("alice") as alice:
        for place in range(5):
            await factories.recorded(services, "alice", await factories.workflow(alice, "orders"), place)
        statements.clear()

        found = (await alice.data(WORKFLOWS))["workflows"]["nodes"]

    assert [each["stats"]["total"] for each in found] == [4, 3, 2, 1, 0]
    totals = [
        sum(each["count"] for span in node["stats"]["timeline"] for each in span["counts"]) for node in found
    ]
    assert totals == [4, 3, 2, 1, 0]
    assert [len(node["stats"]["days"]) > 0 for node in found] == [True] * 4 + [False]
    # The workflows, their stats, and two timelines.
    assert len(statements) == 4


async def test_a_workflows_stats_need_the_scope_of_executions(api: Api) -> None:
    async with api.client("alice") as alice:
        workflow = await factories.workflow(alice, "orders")
    async with api.client("alice", READ_WORKFLOWS) as reader:
        error = await reader.error("query ($id: ID!) { workflow(id: $id) { stats { total } } }", id=workflow)

    assert error["extensions"]["code"] == "FORBIDDEN"
    assert error["extensions"]["requiredScope"] == "executions:read"


async def test_a_subscriber_gets_the_counts_now_and_whenever_they_change(
    alice: Client, services: Services
) -> None:
    workflow = await factories.workflow(alice, "orders")
    (id,) = await factories.recorded(services, "alice", workflow, 1)

    async with alice.socket() as socket:
        await socket.subscribe("1", WATCH)
        first = counts(await socket.next())
        # What changes no count is not told.
        await factories.note(services, id)
        await factories.recorded(services, "alice", workflow, 2)
        second = counts(await socket.next())
        if second != {"PENDING": 3}:
            second = counts(await socket.next())

    assert first == {"PENDING": 1}
    assert second == {"PENDING": 3}


async def test_what_changes_while_a_feed_is_opened_is_counted(
    alice: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first count must not be older than the place from which its watcher hears of changes."""
    workflow = await factories.workflow(alice, "orders")
    heads = events.heads

    async def late_heads(connection: Connection, owners: Sequence[str]) -> dict[str, int]:
        await asyncio.sleep(0.5)
        return await heads(connection, owners)

    monkeypatch.setattr(events, "heads", late_heads)
    async with alice.socket() as socket:
        await socket.subscribe("1", WATCH)
        first = counts(await socket.next())
        await factories.recorded(services, "alice", workflow, 1)
        second = counts(await socket.next())

    assert (first, second) == ({}, {"PENDING": 1})


async def test_an_admin_who_watches_sees_what_others_start(
    api: Api, alice: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resolvers.stats.ADMIN_PAUSE_SECONDS", 0.1)
    workflow = await factories.workflow(alice, "orders")

    async with api.client("root", ADMIN) as root, root.socket() as socket:
        await socket.subscribe("1", WATCH)
        first = counts(await socket.next())
        await factories.recorded(services, "alice", workflow, 1)
        second = counts(await socket.next())

    assert (first, second) == ({}, {"PENDING": 1})
