"""executionEvents: one execution's past, then its life, to its last event."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
import temporalio.client

from app.paging import feed_cursor
from app.settings import Settings
from resolvers.context import Services
from tests import factories
from tests.client import Api, Client, Socket
from tests.factories import EVENTS

FUTURE = feed_cursor(1_000_000)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """No backstop: what is told live was told by a doorbell."""
    return settings.model_copy(update={"hub_backstop_seconds": 600.0})


async def pending(client: Client, services: Services) -> str:
    """An execution with one event, which nothing but a test changes."""
    (id,) = await factories.recorded(services, "alice", await factories.workflow(client, "orders"), 1)
    return id


async def take(socket: Socket, count: int, id: str = "1") -> list[dict[str, Any]]:
    return [(await socket.next(id))["executionEvents"] for _ in range(count)]


async def test_the_past_is_told_first_and_then_what_happens(
    alice: Client, worker: str, tracker: None, temporal_client: temporalio.client.Client
) -> None:
    started = await factories.waiting(alice, worker)

    async with alice.socket() as socket:
        await socket.subscribe("1", EVENTS, {"id": started["id"]})
        past = await take(socket, 2)
        await temporal_client.get_workflow_handle(started["temporalWorkflowId"]).signal("approve")
        told = past + await take(socket, 7)
        assert await socket.receive() == {"id": "1", "type": "complete"}

    assert [event["type"] for event in past] == ["EXECUTION_CREATED", "EXECUTION_STARTED"]
    assert told[2]["type"] == "SIGNAL_RECEIVED"
    assert told[-1]["type"] == "EXECUTION_COMPLETED"
    assert [event["version"] for event in told] == list(range(1, 10))
    assert [event["id"] for event in told] == [f"{started['id']}:{version}" for version in range(1, 10)]
    assert {event["execution"]["id"] for event in told} == {started["id"]}
    assert all(event["execution"]["version"] >= event["version"] for event in told)
    assert [event["status"] for event in told] == ["PENDING", *["RUNNING"] * 7, "COMPLETED"]


async def test_who_comes_late_is_told_the_same(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.paid(alice, worker)

    live = await factories.events(alice, started["id"])
    late = await factories.events(alice, started["id"])

    assert [event["id"] for event in live] == [f"{started['id']}:{version}" for version in range(1, 7)]
    assert [event.pop("execution") for event in late] == [
        {"id": started["id"], "status": "COMPLETED", "version": 6}
    ] * 6
    assert late == [{name: event[name] for name in event if name != "execution"} for event in live]


async def test_after_any_cursor_the_rest_is_told(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.paid(alice, worker)
    told = [event["cursor"] for event in await factories.events(alice, started["id"])]

    rests = [await factories.events(alice, started["id"], after=cursor) for cursor in told]

    assert [[event["cursor"] for event in rest] for rest in rests] == [
        told[place:] for place in range(1, len(told) + 1)
    ]


async def test_after_the_last_event_it_completes_at_once(alice: Client, worker: str, tracker: None) -> None:
    started = await factories.paid(alice, worker)
    *_, last = await factories.events(alice, started["id"])

    async with alice.socket() as socket:
        await socket.subscribe("1", EVENTS, {"id": started["id"], "after": last["cursor"]})

        assert await socket.receive(timeout_seconds=2) == {"id": "1", "type": "complete"}


async def test_the_rest_of_the_feed_is_left_out(alice: Client, services: Services) -> None:
    watched, other = [await pending(alice, services) for _ in range(2)]

    async with alice.socket() as socket:
        await socket.subscribe("1", EVENTS, {"id": watched})
        told = await take(socket, 1)
        for id in (other, watched, other, other, watched):
            await factories.note(services, id)
        told += await take(socket, 2)

    assert [event["id"] for event in told] == [f"{watched}:{version}" for version in (1, 2, 3)]


async def test_one_socket_carries_several_and_each_ends_by_itself(alice: Client, services: Services) -> None:
    first, second = [await pending(alice, services) for _ in range(2)]
    cancel = {"input": {"id": first}}

    async with alice.socket() as socket:
        await socket.subscribe("first", EVENTS, {"id": first})
        assert [event["version"] for event in await take(socket, 1, "first")] == [1]
        await socket.subscribe("second", EVENTS, {"id": second})
        assert [event["version"] for event in await take(socket, 1, "second")] == [1]
        await alice.data(factories.CANCEL, **cancel)
        ended = await take(socket, 1, "first")
        assert await socket.receive() == {"id": "first", "type": "complete"}
        await factories.note(services, second)
        going_on = await take(socket, 1, "second")

    assert (ended[0]["type"], ended[0]["status"]) == ("EXECUTION_CANCELLED", "CANCELLED")
    assert going_on[0]["id"] == f"{second}:2"


async def test_one_that_is_no_longer_wanted_is_told_no_more(alice: Client, services: Services) -> None:
    id = await pending(alice, services)

    async with alice.socket() as socket:
        await socket.subscribe("1", EVENTS, {"id": id})
        (event,) = await take(socket, 1)
        await socket.send(id="1", type="complete")
        await socket.subscribe("2", EVENTS, {"id": id, "after": event["cursor"]})
        await factories.note(services, id, count=3)

        # Any frame for the first would come between these.
        assert [event["version"] for event in await take(socket, 3, "2")] == [2, 3, 4]


async def test_another_owners_is_forbidden_and_nothing_of_it_is_told(
    alice: Client, bob: Client, services: Services
) -> None:
    id = await pending(alice, services)

    error = await bob.refusal(EVENTS, id=id)

    assert error["message"] == "This execution belongs to another user; only they or an admin may have it."
    assert error["extensions"] == {"code": "FORBIDDEN"}


async def test_an_admin_may_watch_another_owners(alice: Client, api: Api, services: Services) -> None:
    id = await pending(alice, services)

    async with api.client("root", "admin") as admin, admin.socket() as socket:
        await socket.subscribe("1", EVENTS, {"id": id})
        past = await take(socket, 1)
        await factories.note(services, id)
        live = await take(socket, 1)

    assert [event["id"] for event in past + live] == [f"{id}:1", f"{id}:2"]


async def test_a_missing_one_is_not_found(alice: Client, subtests: pytest.Subtests) -> None:
    for id in (str(uuid4()), "1", "", "\x00", "é" * 1_000):
        with subtests.test(id[:40]):
            error = await alice.refusal(EVENTS, id=id)

            assert error["extensions"] == {"code": "NOT_FOUND"}


async def test_a_garbage_cursor_is_refused(
    alice: Client, services: Services, subtests: pytest.Subtests
) -> None:
    id = await pending(alice, services)

    for cursor in ("x", "é", "\x00", "Zg", "ZjE6", "ZjE6LTE", "ZjE6MS4w", "ZjI6MQ", "A" * 5_000, "bjE6MTow"):
        with subtests.test(cursor[:40]):
            error = await alice.refusal(EVENTS, id=id, after=cursor)

            assert error["extensions"]["code"] == "INVALID_INPUT"
            assert [issue["path"] for issue in error["extensions"]["issues"]] == ["/after"]


@pytest.mark.parametrize("ended", [False, True])
async def test_a_cursor_from_the_future_is_refused(alice: Client, services: Services, ended: bool) -> None:
    id = await pending(alice, services)
    if ended:
        await alice.data(factories.CANCEL, input={"id": id})

    error = await alice.refusal(EVENTS, id=id, after=FUTURE)

    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert [issue["path"] for issue in error["extensions"]["issues"]] == ["/after"]


async def test_watchers_of_one_execution_are_told_the_same(alice: Client, services: Services) -> None:
    id = await pending(alice, services)

    async def watch() -> list[dict[str, Any]]:
        return await factories.events(alice, id)

    watchers = [asyncio.create_task(watch()) for _ in range(5)]
    for _ in range(5):
        await factories.note(services, id, count=4)
    await alice.data(factories.CANCEL, input={"id": id})
    told = await asyncio.gather(*watchers)

    assert [[event["version"] for event in each] for each in told] == [list(range(1, 23))] * 5
