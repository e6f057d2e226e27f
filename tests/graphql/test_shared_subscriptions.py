"""Identical subscriptions share what their events come to; what differs for anybody is shared with nobody."""

import gc
from contextlib import AsyncExitStack
from typing import Any

import pytest

from app import auth, crowds
from app.deliveries import Delivery
from app.errors import Unavailable
from app.hub import Feed, Hub
from app.paging import feed_cursor
from resolvers.context import Services
from schema import shared
from tests import factories
from tests.client import Api, Client, Socket
from tests.eventually import eventually

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
    """The results that were made for groups of subscriptions."""
    made: list[Any] = []

    class Noted(shared.Outcome):
        def __init__(self, result: Any) -> None:
            super().__init__(result)
            made.append(result)

    monkeypatch.setattr(shared, "Outcome", Noted)
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


async def test_many_are_told_at_once_whatever_their_ids_are(
    alice: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowds, "MANY", 2)
    id = await pending(alice, services)
    async with AsyncExitStack() as exits:
        sockets = [await exits.enter_async_context(alice.socket()) for _ in range(5)]
        for place, socket in enumerate(sockets):
            await begun(socket, str(place // 3))
        for _ in range(3):
            await factories.note(services, id, 2)

        told_to_each = [[event["id"] for event in await told(each, 6)] for each in sockets]

    assert told_to_each == [[f"{id}:{version}" for version in range(2, 8)]] * 5


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


async def test_what_comes_at_once_is_sent_with_one_write(
    alice: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, send, feeds, enter = list[int](), crowds.tell, list[Feed](), Hub._enter

    def entered(hub: Hub, owner: str) -> Feed:
        feeds.append(enter(hub, owner))
        return feeds[-1]

    def counted(lines: Any, frames: bytes) -> list[bool]:
        writes.append(len(lines))
        return send(lines, frames)

    id = await pending(alice, services)
    monkeypatch.setattr(Hub, "_enter", entered)
    async with alice.socket() as one, alice.socket() as other:
        for socket in (one, other):
            await socket.subscribe("1", "subscription { executionFeed { cursor } }")
        await eventually(lambda: len(feeds) == 2 and feeds[0].opened.is_set())
        await factories.note(services, id)
        await told(one, 1)
        await told(other, 1)
        monkeypatch.setattr(crowds, "tell", counted)
        feed, _ = feeds
        last = feed.ring[-1]
        positions = range(last.position + 1, last.position + 11)
        feed.append([Delivery(last.event._replace(position=each), last.execution) for each in positions])
        feed.tell()
        seen = [[event["cursor"] for event in await told(socket, 10)] for socket in (one, other)]

    assert seen == [[feed_cursor(position) for position in positions]] * 2
    assert writes == [2]


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


async def test_what_an_event_needs_from_postgres_is_waited_for(
    alice: Client, services: Services, outages: list[Unavailable]
) -> None:
    """An event that is told with an error in its place would be lost: its cursor goes with it."""
    id = await pending(alice, services)

    async with alice.socket() as one, alice.socket() as other:
        for socket in (one, other):
            await begun(socket)
        outages += [Unavailable("away"), Unavailable("away still")]
        await factories.note(services, id, 2)

        seen = [[event["cursor"] for event in await told(socket, 2)] for socket in (one, other)]

    assert seen == [[feed_cursor(2), feed_cursor(3)]] * 2
    assert not outages


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


@pytest.mark.parametrize("more", ["", "execution { workflow { name } }"], ids=["at once", "waited for"])
async def test_who_does_not_read_holds_nobody_up_and_then_gets_all_in_order(
    alice: Client, services: Services, more: str
) -> None:
    id = await pending(alice, services)
    query = f"subscription ($after: String) {{ executionFeed(after: $after) {{ version details {more} }} }}"
    details = "x" * 100_000
    # More than all buffers on the way hold.
    events = 120

    async with alice.socket() as brisk, alice.socket() as slow:
        for socket in (brisk, slow):
            await socket.subscribe("1", query, {"after": feed_cursor(0)})
            await socket.next()
        versions = []
        for _ in range(events // 10):
            await factories.note(services, id, count=10, details=details)
            versions += [event["version"] for event in await told(brisk, 10)]
        late = [event["version"] for event in await told(slow, events)]
        await factories.note(services, id)
        last = [(await told(socket, 1))[0]["version"] for socket in (brisk, slow)]

    assert versions == late == list(range(2, events + 2))
    assert last == [events + 2] * 2


async def test_nothing_is_kept_for_one_alone(alice: Client, bob: Client, services: Services) -> None:
    id = await pending(alice, services)

    async with alice.socket() as one, bob.socket() as other:
        await begun(one)
        await factories.recorded(services, "bob", await factories.workflow(bob, "orders"), 1)
        await begun(other)
        await factories.note(services, id, 3)
        await told(one, 3)
        groups = [each for each in gc.get_objects() if type(each) is shared.Group and not each.is_over]

    assert [group._outcomes for group in groups] == [{}, {}]


async def test_whoever_joins_knowing_more_than_the_others_is_told_nothing_twice(
    alice: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await pending(alice, services)
    async with alice.socket() as keeper, alice.socket() as ahead:
        await begun(keeper)
        with monkeypatch.context() as silence:
            silence.setattr(services.bus, "publish", lambda *_: None)
            await factories.note(services, id)
        # From the beginning it reads in Postgres, further than the feed has come.
        await begun(ahead)
        await told(ahead, 1)
        await factories.note(services, id, 2)

        seen = [
            [event["cursor"] for event in await told(socket, count)]
            for socket, count in ((keeper, 3), (ahead, 2))
        ]

    assert seen == [[feed_cursor(each) for each in (2, 3, 4)], [feed_cursor(each) for each in (3, 4)]]


async def test_whoever_joins_is_told_what_the_others_know_already_though_no_doorbell_has_rung(
    alice: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await pending(alice, services)
    async with AsyncExitStack() as stack:
        # It keeps the feed where it is, and is no member of the others' group.
        keeper, first, second = [await stack.enter_async_context(alice.socket()) for _ in range(3)]
        await begun(keeper, first=2)
        with monkeypatch.context() as silence:
            silence.setattr(services.bus, "publish", lambda *_: None)
            await factories.note(services, id)
        # From the beginning it reads in Postgres, further than the feed has come.
        await begun(first)
        ahead = await told(first, 1)
        await second.subscribe("1", FEED, {"first": 1, "after": feed_cursor(1)})
        missed = await told(second, 1)
        await factories.note(services, id)
        last = [await told(socket, 1) for socket in (first, second)]

    assert ahead == missed
    assert [each[0]["cursor"] for each in (ahead, *last)] == [feed_cursor(2), feed_cursor(3), feed_cursor(3)]
