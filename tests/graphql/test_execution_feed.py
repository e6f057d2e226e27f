"""executionFeed: all that happens to the caller's executions, without a hole."""

import gc
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
import temporalio.client
from graphql.execution.collect_fields import FieldDetails

from app.paging import feed_cursor, feed_position
from app.settings import Settings
from resolvers.context import Services
from tests import factories
from tests.client import Client, Socket, serving
from tests.eventually import eventually

FEED = """
subscription ($after: String, $filter: ExecutionEventFilter) {
  executionFeed(after: $after, filter: $filter) { cursor type version details execution { id version } }
}
"""
BEGINNING = feed_cursor(0)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """No backstop: what is told live was told by a doorbell."""
    return settings.model_copy(update={"hub_backstop_seconds": 600.0})


async def pending(client: Client, services: Services, owner: str = "alice") -> str:
    """An execution with one event, which nothing but a test changes."""
    (id,) = await factories.recorded(services, owner, await factories.workflow(client, "orders"), 1)
    return id


async def take(socket: Socket, count: int, id: str = "1") -> list[dict[str, Any]]:
    return [(await socket.next(id))["executionFeed"] for _ in range(count)]


def positions(events: list[dict[str, Any]]) -> list[int]:
    return [feed_position(event["cursor"]) for event in events]


def places(events: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(event["execution"]["id"], event["version"]) for event in events]


async def test_it_is_dense_over_all_executions(alice: Client, worker: str, tracker: None) -> None:
    payment = await factories.workflow(alice, worker, "PaymentWorkflow")

    async with alice.socket() as socket:
        await socket.subscribe("1", FEED, {"after": BEGINNING})
        ids = [(await factories.start(alice, payment, {"succeed_on_attempt": 1}))["id"] for _ in range(3)]
        told = await take(socket, 18)

    assert positions(told) == list(range(1, 19))
    assert {event["execution"]["id"] for event in told} == set(ids)
    for id in ids:
        assert [version for each, version in places(told) if each == id] == [1, 2, 3, 4, 5, 6]
    assert all(event["execution"]["version"] >= event["version"] for event in told)


async def test_it_holds_the_callers_alone(alice: Client, bob: Client, services: Services) -> None:
    alices = await pending(alice, services)
    bobs = await pending(bob, services, "bob")

    async with alice.socket() as socket, bob.socket() as other:
        await socket.subscribe("1", FEED, {"after": BEGINNING})
        await other.subscribe("1", FEED, {"after": BEGINNING})
        for id in (bobs, alices, bobs, bobs, alices):
            await factories.note(services, id)
        told, others = await take(socket, 3), await take(other, 4)

    assert places(told) == [(alices, 1), (alices, 2), (alices, 3)]
    assert places(others) == [(bobs, 1), (bobs, 2), (bobs, 3), (bobs, 4)]


async def test_after_any_cursor_the_rest_is_told(alice: Client, services: Services) -> None:
    id = await pending(alice, services)
    await factories.note(services, id, count=5)

    async with alice.socket() as socket:
        rests = []
        for place in range(6):
            await socket.subscribe(str(place), FEED, {"after": feed_cursor(place)})
            rests.append(positions(await take(socket, 6 - place, str(place))))
            await socket.send(id=str(place), type="complete")

    assert rests == [list(range(place + 1, 7)) for place in range(6)]


async def test_without_a_cursor_it_goes_on_from_now(alice: Client, services: Services) -> None:
    id = await pending(alice, services)
    await factories.note(services, id, count=5)

    async with alice.socket() as socket:
        await socket.subscribe("1", FEED)
        # Nothing says when the subscription stands: notes are made until the first of them is told.
        first = await noted(services, id, socket)
        await factories.note(services, id, count=3)
        told = [first, *await take(socket, 3)]

    assert positions(told)[0] > 6
    assert positions(told) == list(range(positions(told)[0], positions(told)[0] + 4))


async def noted(services: Services, id: str, socket: Socket) -> dict[str, Any]:
    async def tried() -> Any:
        await factories.note(services, id)
        try:
            return await socket.receive(timeout_seconds=0.2)
        except TimeoutError:
            return None

    event: dict[str, Any] = (await eventually(tried))["payload"]["data"]["executionFeed"]
    return event


async def test_who_comes_back_with_their_last_cursor_misses_nothing(
    alice: Client, services: Services
) -> None:
    id = await pending(alice, services)
    told: list[dict[str, Any]] = []

    for _ in range(4):
        after = told[-1]["cursor"] if told else BEGINNING
        await factories.note(services, id, count=3)
        async with aclosing(alice.watch(FEED, after=after)) as feed:
            told += [(await anext(feed))["executionFeed"] for _ in range(2)]

    assert positions(told) == list(range(1, 9))


async def test_everyone_who_watches_is_told_the_same_on_every_replica(
    alice: Client, services: Services, settings: Settings
) -> None:
    id = await pending(alice, services)

    async with (
        serving(settings) as replica,
        replica.client("alice") as alice_there,
        alice.socket() as one,
        alice.socket() as two,
        alice_there.socket() as there,
    ):
        sockets = (one, two, there)
        for socket in sockets:
            await socket.subscribe("1", FEED, {"after": BEGINNING})
        told = [await take(socket, 1) for socket in sockets]
        for _ in range(10):
            await factories.note(services, id, count=2)
        live = [await take(socket, 20) for socket in sockets]

    assert [positions(events) for events in told] == [[1]] * 3
    assert [positions(events) for events in live] == [list(range(2, 22))] * 3


async def test_large_events_arrive_whole_on_every_replica(
    alice: Client,
    worker: str,
    tracker: None,
    settings: Settings,
    temporal_client: temporalio.client.Client,
) -> None:
    large = {"text": "Größe " * 5_000, "list": list(range(5_000))}
    started = await factories.waiting(alice, worker)
    handle = temporal_client.get_workflow_handle(started["temporalWorkflowId"])

    async with (
        serving(settings) as replica,
        replica.client("alice") as alice_there,
        alice.socket() as here,
        alice_there.socket() as there,
    ):
        for socket in (here, there):
            await socket.subscribe("1", FEED, {"after": BEGINNING})
            assert positions(await take(socket, 2)) == [1, 2]
        await handle.signal("unheard of", large)
        told = [await take(socket, 1) for socket in (here, there)]

    for (event,) in told:
        assert (feed_position(event["cursor"]), event["type"]) == (3, "SIGNAL_RECEIVED")
        assert event["details"] == {"signal": "unheard of", "arguments": [large]}
    await handle.terminate()


async def test_who_falls_behind_what_is_kept_in_memory_is_told_all(
    services: Services, settings: Settings
) -> None:
    small = settings.model_copy(update={"hub_ring_events": 4, "hub_page_events": 3})

    async with serving(small) as api, api.client("alice") as alice, alice.socket() as socket:
        id = await pending(alice, services)
        await socket.subscribe("1", FEED, {"after": BEGINNING})
        told = await take(socket, 1)
        for _ in range(10):
            await factories.note(services, id, count=7)
        told += await take(socket, 70)

    assert positions(told) == list(range(1, 72))
    assert [event["version"] for event in told] == list(range(1, 72))


async def test_who_vanishes_in_the_midst_of_it_alarms_nobody(
    quiet_log: Callable[[], None], alice: Client, services: Services
) -> None:
    id = await pending(alice, services)
    # More than all buffers on the way hold: the server is kept waiting in the middle of sending.
    for _ in range(20):
        await factories.note(services, id, count=10, details="x" * 100_000)

    async with alice.socket() as socket:
        await socket.subscribe("1", FEED, {"after": BEGINNING})
        assert positions(await take(socket, 1)) == [1]
        socket.connection.transport.abort()

    async with alice.socket() as socket:
        await socket.subscribe("1", FEED, {"after": feed_cursor(200)})
        assert positions(await take(socket, 1)) == [201]


async def test_a_filter_chooses_from_what_is_past_and_what_is_live(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "orders")
    (prod,) = await factories.recorded(services, "alice", workflow_id, 1, labels={"env": "prod"})
    (test,) = await factories.recorded(services, "alice", workflow_id, 1, labels={"env": "test"})
    await factories.note(services, prod)
    chosen = {
        "labels": [{"key": "env", "value": "prod"}],
        "workflowId": [workflow_id],
        "status": ["PENDING"],
        "types": ["EXECUTION_UPDATED"],
    }

    async with alice.socket() as socket:
        await socket.subscribe("1", FEED, {"after": BEGINNING, "filter": chosen})
        past = await take(socket, 1)
        await factories.note(services, test)
        await factories.note(services, prod)
        live = await take(socket, 1)

    assert positions(past + live) == [3, 5]
    assert places(live) == [(prod, 3)]


async def test_a_filter_out_of_bounds_is_refused(alice: Client) -> None:
    labels = [{"key": f"key{place}", "value": ""} for place in range(101)]

    error = await alice.refusal(FEED, filter={"labels": labels})

    assert [issue["path"] for issue in error["extensions"]["issues"]] == ["/filter/labels"]


async def test_a_garbage_cursor_is_refused(alice: Client, subtests: pytest.Subtests) -> None:
    for cursor in ("x", "é", "\x00", "ZjE6LTE", "bjE6MTow"):
        with subtests.test(cursor):
            error = await alice.refusal(FEED, after=cursor)

            assert error["extensions"]["code"] == "INVALID_INPUT"
            assert [issue["path"] for issue in error["extensions"]["issues"]] == ["/after"]


async def test_a_cursor_from_the_future_is_refused(alice: Client, services: Services) -> None:
    await pending(alice, services)

    error = await alice.refusal(FEED, after=feed_cursor(2))

    assert error["extensions"] == {
        "code": "INVALID_INPUT",
        "issues": [{"path": "/after", "message": "is ahead of the feed: it is not a cursor of yours"}],
    }


async def test_a_cursor_of_a_list_is_refused(alice: Client, services: Services) -> None:
    await pending(alice, services)
    listed = await alice.data("{ executions { pageInfo { endCursor } } }")

    error = await alice.refusal(FEED, after=listed["executions"]["pageInfo"]["endCursor"])

    assert error["extensions"]["code"] == "INVALID_INPUT"


async def test_nothing_is_kept_of_what_was_delivered(alice: Client, services: Services) -> None:
    id = await pending(alice, services)

    async with alice.socket() as socket:
        await socket.subscribe("1", FEED, {"after": BEGINNING})
        await take(socket, 1)
        before = selections_in_memory()
        await factories.note(services, id, 200)
        await take(socket, 200)

        assert selections_in_memory() - before < 50


def selections_in_memory() -> int:
    """How many selected fields graphql-core holds, in this process."""
    gc.collect()
    return sum(type(each) is FieldDetails for each in gc.get_objects())
