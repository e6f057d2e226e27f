"""A replica is as well after each attack as before it, and every client library is served as before."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests import factories
from tests.client import Api, Client, Socket, connected
from tests.clients.watching import check_watched
from tests.hostile.health import Attack, Patient, examined
from tests.hostile.introspection import CIRCLE, INTROSPECTION
from tests.processes.commands import Program

AT_ONCE = 20

DOUBLED = "".join(f"fragment F{n} on Viewer {{ ...F{n + 1} ...F{n + 1} }} " for n in range(20))
BOMBS = [
    "{" + " ".join(f"a{n}: viewer {{ id }}" for n in range(10_000)) + "}",
    "{" + " ".join(f"a{n}: viewer {{ id }}" for n in range(400)) + "}",
    "{" * 500 + "}" * 500,
    '{ execution(id: "1") ' + "{ history { nodes { execution " * 160 + "{ id }" + " } } }" * 160 + " }",
    "{ viewer { ...F0 } } " + DOUBLED + "fragment F20 on Viewer { id }",
    "{ viewer { ...A } } fragment A on Viewer { ...B } fragment B on Viewer { ...A }",
    "{ __typename " + "@skip(if: false) " * 400 + "}",
    "{" + "__typename " * 1_000 + "}",
]


async def each(calls: Iterable[Callable[[], Awaitable[Any]]]) -> None:
    """Make the calls, AT_ONCE at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def gated(call: Callable[[], Awaitable[Any]]) -> None:
        async with gate:
            await call()

    await asyncio.gather(*map(gated, calls))


async def post(client: Client, query: str) -> None:
    """Send a document; whatever the answer is, it is no fault of the server."""
    response = await client.post(query)
    assert response.status_code < 500, response.text
    assert '"code":"INTERNAL"' not in response.text


async def bombs(api: Api) -> None:
    """Documents that are small to send and huge to execute."""
    async with api.client("mallory") as client:
        await each(partial(post, client, bomb) for bomb in BOMBS * 5)


async def introspection(api: Api) -> None:
    """The largest answers that there are."""
    async with api.client("mallory") as client:
        await each(partial(post, client, query) for query in (INTROSPECTION, CIRCLE) * 50)


async def starts(api: Api) -> None:
    """Executions started, watched, and left without a word."""
    async with api.client("mallory") as client:
        workflow = await factories.workflow(client, f"nobody-{uuid4().hex}")

        async def start() -> None:
            answer = (await client.data(factories.START, input={"workflowId": workflow}))["startExecution"]
            id = answer.get("execution", {}).get("id", str(uuid4()))
            with suppress(websockets.ConnectionClosed):
                async with client.socket() as socket:
                    await socket.subscribe("1", factories.EVENTS, {"id": id})
                    await socket.receive()
                    socket.connection.transport.abort()

        await each([start] * 60)


async def sockets(api: Api) -> None:
    """WebSockets opened and dropped: without a word, after the init, and in the middle of a frame."""

    async def silent() -> None:
        async with connected(api) as connection:
            connection.transport.abort()

    async def begun() -> None:
        with suppress(websockets.ConnectionClosed):
            async with client.socket() as socket:
                await socket.subscribe("1", factories.FEED)
                socket.connection.transport.abort()

    async def cut() -> None:
        async with connected(api) as connection:
            connection.transport.write(b"\x81\xfe\x10\x00")
            connection.transport.abort()

    async with api.client("mallory") as client:
        await each([silent, begun, cut] * 100)


async def streams(api: Api) -> None:
    """Streams of events opened and dropped."""
    async with api.client("mallory") as client:

        async def stream() -> None:
            headers, body = {"Accept": "text/event-stream"}, {"query": factories.FEED}
            async with client.http.stream("POST", api.url, json=body, headers=headers) as response:
                assert response.status_code < 500

        await each([stream] * 200)


async def connections(api: Api) -> None:
    """TCP connections that say nothing, or half of a request."""

    async def connection(text: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(text)
        await writer.drain()
        writer.transport.abort()

    half = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    texts = (b"", b"POST /graphql HT", half, b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n")
    await each(partial(connection, text) for text in texts * 100)


async def tokens(api: Api) -> None:
    """Tokens that are none, over HTTP and over WebSocket."""

    async def request(token: str) -> None:
        async with httpx.AsyncClient(verify=False) as http:
            response = await http.post(
                api.url, json={"query": "{ viewer { id } }"}, headers={"Authorization": f"Bearer {token}"}
            )
            assert response.status_code in {401, 431}

    async def socket(token: str) -> None:
        with suppress(websockets.ConnectionClosed):
            async with connected(api) as connection:
                await Socket(connection).send(
                    type="connection_init", payload={"Authorization": f"Bearer {token}"}
                )
                await connection.recv()
        assert connection.close_code == 4403

    shown = ("x", "x" * 7_000, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.", "a.b.c")
    await each([partial(call, token) for token in shown for call in (request, socket)] * 25)


ATTACKS = [bombs, introspection, starts, sockets, streams, connections, tokens]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_replica_recovers(patient: Patient, attack: Attack) -> None:
    await patient.withstands(attack)

    await check_watched(patient.api, patient.task_queue)


async def test_a_replica_lets_go_of_clients_that_are_gone_without_a_word(
    program: Program, database_url: str, tracker: None, worker: str
) -> None:
    gone: list[ClientConnection] = []

    async def vanish(api: Api) -> None:
        for user in ("ann", "ben", "cem", "dan"):
            async with api.client(user) as client:
                gone.extend([await silenced(client) for _ in range(8)])

    quick = {"SOCKET_PING_SECONDS": "0.2", "SOCKET_SILENCE_SECONDS": "4"}
    async with examined(program, database_url, worker, **quick) as patient:
        await patient.withstands(vanish)
    for connection in gone:
        connection.transport.abort()


async def silenced(client: Client) -> ClientConnection:
    """A WebSocket that follows a feed and neither reads nor answers any more, as without power."""
    connection = await websockets.connect(
        client.api.ws_url, subprotocols=[websockets.Subprotocol("graphql-transport-ws")]
    )
    socket = Socket(connection)
    await socket.send(type="connection_init", payload={"Authorization": f"Bearer {client.token}"})
    assert (await socket.receive())["type"] == "connection_ack"
    await socket.subscribe("1", factories.FEED)
    connection.transport.pause_reading()
    return connection
