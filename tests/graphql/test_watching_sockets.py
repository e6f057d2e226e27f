"""What a socket that watches is to its replica: no task, and nothing that outlives it."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any, cast

import pytest
from websockets.server import ServerProtocol

from app.exchanges import Exchange
from app.paging import feed_cursor
from app.protocols import HttpConnection, SocketConnection
from app.rates import Rates
from resolvers.context import Services
from schema.shared import Group
from schema.socket import Running, Socket
from tests import factories
from tests.client import Client
from tests.client import Socket as Peer
from tests.eventually import eventually

SOCKETS = 10
KINDS = (HttpConnection, Exchange, SocketConnection, ServerProtocol, Socket, Running, Group)
OURS = ("/app/", "/schema/", "/resolvers/", "/uvicorn/protocols/")


@pytest.fixture
def uncollected() -> Iterator[None]:
    """The collector of garbage stays away: what goes must go by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> Counter[type]:
    return Counter(type(each) for each in gc.get_objects() if type(each) in KINDS)


def tasks() -> int:
    """How many tasks the replica has, whose code runs in this process beside the test's own."""
    files = [cast("Any", task.get_coro()).cr_code.co_filename for task in asyncio.all_tasks()]
    return sum(any(part in file for part in OURS) for file in files)


async def watch(client: Client, stack: AsyncExitStack) -> Peer:
    socket = await stack.enter_async_context(client.socket())
    for id in ("1", "2"):
        await socket.subscribe(id, factories.FEED, {"after": feed_cursor(0)})
        await socket.next(id)
    return socket


async def test_a_socket_that_watches_has_no_task_and_leaves_no_garbage(
    uncollected: None, alice: Client, services: Services
) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    before, idle = alive(), tasks()

    async with AsyncExitStack() as stack:
        sockets = [await watch(alice, stack) for _ in range(SOCKETS)]
        await eventually(lambda: tasks() == idle)
        assert (alive() - before)[Running] == 2 * SOCKETS
        await factories.note(services, id)
        for socket in sockets:
            assert {(await socket.receive())["id"] for _ in range(2)} == {"1", "2"}

    await eventually(lambda: alive() == before)


async def test_a_connection_that_asked_and_left_leaves_no_garbage(uncollected: None, alice: Client) -> None:
    before = alive()

    async with alice.api.client("alice") as another:
        await another.post("{ viewer { id } }")
        assert alive() != before

    await eventually(lambda: alive() == before)


def nothing_runs() -> bool:
    """Whether no operation of a socket is left, here or of the tests before."""
    gc.collect()
    return not any(type(each) is Running for each in gc.get_objects())


async def test_what_is_completed_while_it_begins_never_begins(
    alice: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client of Redis swallows a cancellation at times."""
    (id,) = await factories.recorded(services, "alice", await factories.workflow(alice, "nobody"), 1)
    charged = asyncio.Event()

    async def deaf(*_: Any, **__: Any) -> None:
        charged.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with alice.socket() as socket:
        with monkeypatch.context() as patch:
            patch.setattr(Rates, "charge", deaf)
            await socket.subscribe("1", factories.FEED, {"after": feed_cursor(0)})
            await charged.wait()
            await socket.send(id="1", type="complete")
            await eventually(nothing_runs)
        await factories.note(services, id)
        await socket.subscribe("2", "{ viewer { id } }")

        assert await socket.next("2") == {"viewer": {"id": "alice"}}
