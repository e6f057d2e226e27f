"""Identical subscriptions share what their events come to; what differs for anybody is shared with nobody."""

from typing import Any

import pytest

from app import auth
from app.paging import feed_cursor
from resolvers.context import Services
from schema import shared
from tests import factories
from tests.client import Api, Client, Socket

FEED = """
subscription ($after: String, $first: Int) {
  executionFeed(after: $after) {
    id
    cursor
    execution { id version allowedActions workflow { name } history(first: $first) { nodes { id } } }
  }
}
"""
READ_ONLY = (auth.READ_EXECUTIONS, auth.READ_WORKFLOWS)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The results that were made to be shared."""
    made: list[Any] = []
    original = shared._writable

    def noted(result: Any) -> Any:
        made.append(result)
        return original(result)

    monkeypatch.setattr(shared, "_writable", noted)
    return made


async def pending(client: Client, services: Services) -> str:
    (id,) = await factories.recorded(services, "alice", await factories.workflow(client, "orders"), 1)
    return id


async def begun(socket: Socket, id: str = "1", **variables: Any) -> None:
    """Subscribe, and take the one event that there is."""
    await socket.subscribe(id, FEED, {"first": 1, "after": feed_cursor(0), **variables})
    await socket.next(id)


async def told(socket: Socket, count: int) -> list[Any]:
    return [(await socket.receive())["payload"]["data"]["executionFeed"] for _ in range(count)]


async def test_an_event_is_executed_once_for_all(
    alice: Client, services: Services, executed: list[Any]
) -> None:
    id = await pending(alice, services)

    async with alice.socket() as one, alice.socket() as other:
        for socket in (one, other):
            await begun(socket, "x")
            await begun(socket, 'y"')
        executed.clear()
        for _ in range(3):
            await factories.note(services, id)
        answers = [await told(one, 6), await told(other, 6)]

    assert len(executed) == 3
    assert answers[0][::2] == answers[0][1::2] == answers[1][::2] == answers[1][1::2]
    assert [event["execution"]["history"]["nodes"] for event in answers[0]] == [[{"id": f"{id}:1"}]] * 6


async def test_whoever_came_from_elsewhere_shares_too(
    alice: Client, services: Services, executed: list[Any]
) -> None:
    id = await pending(alice, services)
    await factories.note(services, id, 2)

    async with alice.socket() as one, alice.socket() as other:
        await begun(one, after=feed_cursor(1))
        await begun(other, after=feed_cursor(2))
        await told(one, 1)
        executed.clear()
        await factories.note(services, id)
        assert await told(one, 1) == await told(other, 1)

    assert len(executed) == 1


async def test_what_depends_on_the_callers_scopes_or_variables_is_not_shared(
    api: Api, alice: Client, services: Services
) -> None:
    id = await pending(alice, services)

    async with api.client("alice", *READ_ONLY) as reader, alice.socket() as one, reader.socket() as other:
        await begun(one, "1")
        await begun(one, "2", first=2)
        await begun(other, "1")
        await factories.note(services, id)
        whole, less = await told(one, 2), await told(other, 1)

    assert [event["execution"]["allowedActions"] != [] for event in (*whole, *less)] == [True, True, False]
    assert sorted(len(event["execution"]["history"]["nodes"]) for event in whole) == [1, 2]


async def test_the_end_of_one_is_not_the_end_of_the_others(alice: Client, services: Services) -> None:
    id = await pending(alice, services)

    async with alice.socket() as other:
        async with alice.socket() as one:
            await begun(one)
            await begun(other)
            await factories.note(services, id)
            await one.send(id="1", type="complete")
        await factories.note(services, id, 2)

        assert [event["id"] for event in await told(other, 3)] == [f"{id}:{version}" for version in (2, 3, 4)]


async def test_nothing_is_kept_for_one_alone(
    alice: Client, bob: Client, services: Services, executed: list[Any]
) -> None:
    id = await pending(alice, services)

    async with alice.socket() as one, bob.socket() as other:
        await begun(one)
        await other.subscribe("1", FEED, {"first": 1, "after": feed_cursor(0)})
        await factories.note(services, id, 3)
        await told(one, 3)

    assert executed == []
