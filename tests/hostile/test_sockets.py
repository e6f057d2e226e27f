"""WebSockets without end, without init, or without manners: bounded, and closed with a fit code."""

import asyncio
import json
import os
import struct
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import websockets

from app import auth
from app.paging import feed_cursor
from app.settings import Settings
from resolvers.context import Services
from tests import factories
from tests.client import SECRET, Api, Client, Socket, connected, serving
from tests.eventually import eventually
from tests.graphql.test_authentication import signed
from tests.hostile.conftest import unharmed
from tests.hostile.wire import Wire, wired

Quiet = Callable[[], None]

VIEWER = "{ viewer { id } }"
RESTART, AGAIN, FORBIDDEN, LATE = 1012, 1013, 4403, 4408
HANDSHAKE = (
    "GET /graphql HTTP/1.1",
    "Host: x",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: graphql-transport-ws",
)
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG, LAST = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA, 0x80


def altered(settings: Settings, **update: Any) -> Settings:
    return settings.model_copy(update=update)


def frame(first: int, data: bytes = b"") -> bytes:
    """A masked frame, as a client's must be, by its first byte."""
    length = len(data)
    if length < 126:
        head = bytes([first, 0x80 | length])
    elif length < 65_536:
        head = bytes([first, 0x80 | 126]) + struct.pack("!H", length)
    else:
        head = bytes([first, 0x80 | 127]) + struct.pack("!Q", length)
    return head + bytes(4) + data


async def shaken(wire: Wire) -> None:
    """Shake hands by the book."""
    await wire.send(*HANDSHAKE, "", "")
    assert b" 101 " in await wire.reader.readuntil(b"\r\n\r\n")


async def close_code(wire: Wire) -> int:
    """The code in the close frame with which the server ends; the frames before it are skipped."""
    async with asyncio.timeout(20):
        while True:
            first, length = await wire.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", await wire.reader.readexactly(2))
            data = await wire.reader.readexactly(length)
            if first == LAST | CLOSE:
                return int(struct.unpack("!H", data[:2])[0])


async def test_a_user_has_so_many_sockets(quiet_log: Quiet, settings: Settings) -> None:
    async with serving(altered(settings, max_sockets_per_user=2)) as api, AsyncExitStack() as held:
        alice = await held.enter_async_context(api.client("alice"))
        bob = await held.enter_async_context(api.client("bob"))
        first = await held.enter_async_context(alice.socket())
        await held.enter_async_context(alice.socket())

        async with connected(api) as third:
            await Socket(third).send(type="connection_init", payload=init(alice))
            refused = await Socket(third).closed()
        async with bob.socket() as other:
            await other.subscribe("1", VIEWER)
            assert await other.next() == {"viewer": {"id": "bob"}}
        await first.connection.close()

        async def again() -> bool:
            async with connected(api) as fourth:
                await Socket(fourth).send(type="connection_init", payload=init(alice))
                try:
                    return bool(await Socket(fourth).receive() == {"type": "connection_ack"})
                except websockets.ConnectionClosed:
                    return False

        await eventually(again)

    assert refused == (AGAIN, "You have too many sockets: close one")


async def test_a_replica_has_so_many_sockets_and_those_without_a_user_go_first(
    quiet_log: Quiet, settings: Settings
) -> None:
    async with serving(altered(settings, max_sockets=2)) as api, AsyncExitStack() as held:
        alice = await held.enter_async_context(api.client("alice"))
        bob = await held.enter_async_context(api.client("bob"))
        await held.enter_async_context(alice.socket())
        silent = await held.enter_async_context(connected(api))
        await held.enter_async_context(bob.socket())

        gone = await Socket(silent).closed()
        async with connected(api) as third:
            refused = await Socket(third).closed()

    assert gone == (LATE, "Connection initialisation timeout")
    assert refused == (AGAIN, "There are too many sockets")


async def test_a_thousand_sockets_without_init_starve_nobody(bystander: Client, services: Services) -> None:
    api = bystander.api
    workflow_id = await factories.workflow(bystander, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    async with AsyncExitStack() as held, bystander.socket() as watching:
        await watching.subscribe("1", factories.FEED, {"after": feed_cursor(0)})
        await watching.next()
        wires = []
        for _ in range(1_000):
            wires.append(await held.enter_async_context(wired(api)))
            await shaken(wires[-1])

        async with bystander.socket() as socket:
            await socket.subscribe("1", VIEWER)
            assert await socket.next() == {"viewer": {"id": "alice"}}
        await factories.note(services, id)
        assert (await watching.next())["executionFeed"]["version"] == 2
        codes = await asyncio.gather(*(close_code(wire) for wire in wires))

    assert set(codes) == {LATE}


async def test_a_socket_grows_only_so_old(quiet_log: Quiet, settings: Settings) -> None:
    short = altered(settings, socket_lifetime_seconds=0.3)
    async with serving(short) as api, api.client("alice") as alice, alice.socket() as socket:
        await socket.subscribe("1", factories.FEED)
        closed = await socket.closed()

    assert closed == (RESTART, "The socket is old: open another")


async def test_a_socket_without_operations_is_closed_and_one_with_them_is_not(
    quiet_log: Quiet, settings: Settings
) -> None:
    short = altered(settings, socket_idle_seconds=0.5)
    async with (
        serving(short) as api,
        api.client("alice") as alice,
        alice.socket() as busy,
        alice.socket() as idle,
    ):
        await busy.subscribe("1", factories.FEED)
        await idle.subscribe("1", VIEWER)
        closed = await idle.closed()
        await busy.subscribe("2", VIEWER)
        assert await busy.next("2") == {"viewer": {"id": "alice"}}
        await busy.receive()
        await busy.send(id="1", type="complete")
        closed_too = await busy.closed()

    assert closed == closed_too == (1000, "The socket is not used")


async def test_who_answers_no_ping_is_told_to_come_back(quiet_log: Quiet, settings: Settings) -> None:
    hasty = altered(settings, socket_ping_seconds=0.2, socket_silence_seconds=0.2)
    async with serving(hasty) as api, wired(api) as wire, api.client("alice") as alice:
        await shaken(wire)
        await wire.send(
            frame(LAST | TEXT, json.dumps({"type": "connection_init", "payload": init(alice)}).encode())
        )
        code = await close_code(wire)
        async with alice.socket() as socket:
            await socket.subscribe("1", VIEWER)
            assert await socket.next() == {"viewer": {"id": "alice"}}

    assert code == AGAIN


async def test_a_flood_of_pings_that_reads_no_pongs_is_bounded(
    quiet_log: Quiet, settings: Settings, services: Services
) -> None:
    async with serving(altered(settings, socket_silence_seconds=0.5)) as api, api.client("alice") as alice:
        async with wired(api, limit=1_000) as wire:
            await shaken(wire)
            init_frame = json.dumps({"type": "connection_init", "payload": init(alice)}).encode()
            await wire.send(frame(LAST | TEXT, init_frame))
            lost = asyncio.create_task(flooding(wire, frame(LAST | PING, os.urandom(125)) * 500))
            await asyncio.wait_for(lost, 30)
        assert await alice.data(VIEWER) == {"viewer": {"id": "alice"}}


async def test_who_hangs_up_without_reading_what_is_left_is_gone(
    quiet_log: Quiet, settings: Settings, services: Services
) -> None:
    """It may never read it: until then the connection is half closed, and nothing is lost."""
    patient = altered(settings, metrics=True, socket_silence_seconds=600.0)
    async with serving(patient) as api, api.client("alice") as alice, wired(api, limit=1_000) as wire:
        (id,) = await factories.recorded(services, "alice", await factories.workflow(alice, "orders"), 1)
        query = "subscription { executionFeed { details } }"
        await shaken(wire)
        await watch(wire, alice, {"query": query})
        await eventually(lambda: is_watched(alice))
        # More than all buffers on the way hold.
        for _ in range(12):
            await factories.note(services, id, count=10, details="x" * 100_000)

        wire.writer.write_eof()
        await factories.note(services, id)

        await eventually(lambda: is_watched(alice, False))
        assert await alice.data(VIEWER) == {"viewer": {"id": "alice"}}


async def watch(wire: Wire, client: Client, payload: dict[str, Any]) -> None:
    """Send a client's init and its subscription, and wait for nothing."""
    for message in (
        {"type": "connection_init", "payload": init(client)},
        {"type": "subscribe", "id": "1", "payload": payload},
    ):
        await wire.send(frame(LAST | TEXT, json.dumps(message).encode()))


async def is_watched(client: Client, expected: bool = True) -> bool:
    """Whether the replica has a subscription, as expected."""
    page = (await client.http.get(client.api.url.replace("/graphql", "/metrics"))).text
    return f"\nsubscriptions {float(expected)}" in page


async def flooding(wire: Wire, data: bytes) -> None:
    """Send the same again and again, and read nothing, until the connection is lost."""
    try:
        while True:
            wire.writer.write(data)
            await wire.writer.drain()
    except ConnectionError:
        return


def init(client: Client) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.token}"}


HANDSHAKES: dict[str, tuple[int, Callable[[list[str]], list[str]]]] = {
    "no key": (400, lambda lines: [line for line in lines if "Key" not in line]),
    "a short key": (400, lambda lines: [*lines[:5], "Sec-WebSocket-Key: eA==", lines[6]]),
    "a key that is none": (400, lambda lines: [*lines[:5], "Sec-WebSocket-Key: ???", lines[6]]),
    "two keys": (400, lambda lines: [*lines, lines[5]]),
    "another version": (400, lambda lines: [line.replace("13", "7") for line in lines]),
    "a body": (400, lambda lines: [*lines, "Content-Length: 5"]),
    "chunks": (400, lambda lines: [*lines, "Transfer-Encoding: chunked"]),
    "a long header": (431, lambda lines: [*lines, "X-A: " + "a" * 9_000]),
    "a long address": (414, lambda lines: ["GET /graphql?" + "a" * 9_000 + " HTTP/1.1", *lines[1:]]),
    "by POST": (405, lambda lines: ["POST /graphql HTTP/1.1", *lines[1:]]),
    "another path": (403, lambda lines: ["GET /nothing HTTP/1.1", *lines[1:]]),
    "protocols that are none": (400, lambda lines: [*lines[:6], "Sec-WebSocket-Protocol: ,;=,"]),
    "extensions that are none": (101, lambda lines: [*lines, "Sec-WebSocket-Extensions: ;;;"]),
    "another origin": (403, lambda lines: [*lines, "Origin: https://evil.example"]),
    "no origin": (403, lambda lines: [*lines, "Origin: null"]),
    "an origin that is none": (403, lambda lines: [*lines, "Origin: https://[x"]),
    "our host in another origin": (403, lambda lines: [*lines, "Origin: https://x.evil.example"]),
    "a port of our host": (403, lambda lines: [*lines, "Origin: http://x:81"]),
    "our own origin": (101, lambda lines: [*lines, "Origin: http://x"]),
    "our own origin behind TLS": (101, lambda lines: [*lines, "Origin: https://x"]),
}


async def test_handshakes(bystander: Client, subtests: pytest.Subtests) -> None:
    for name, (status, change) in HANDSHAKES.items():
        with subtests.test(name):
            async with wired(bystander.api) as wire:
                await wire.send(*change(list(HANDSHAKE)), "", "")
                async with asyncio.timeout(20):
                    said = await wire.reader.readuntil(b"\r\n\r\n")

            assert int(said.split()[1]) == status
            await unharmed(bystander)


async def test_pages_of_listed_origins_may_open_sockets(quiet_log: Quiet, settings: Settings) -> None:
    listed = altered(settings, cors_origins=("https://app.example",))
    rows = {"https://app.example": 101, "https://APP.example": 101, "http://app.example": 403, "null": 403}
    statuses = {}
    async with serving(listed) as api:
        for origin in rows:
            async with wired(api) as wire:
                await wire.send(*HANDSHAKE, f"Origin: {origin}", "", "")
                statuses[origin] = int((await wire.reader.readuntil(b"\r\n\r\n")).split()[1])

    assert statuses == rows


@pytest.mark.parametrize("protocol", ["graphql-ws", "graphql-sse", "nonsense", None])
async def test_another_protocol_is_refused_so_that_its_client_gives_up(
    bystander: Client, protocol: str | None
) -> None:
    named = None if protocol is None else [websockets.Subprotocol(protocol)]
    async with websockets.connect(bystander.api.ws_url, subprotocols=named) as connection:
        assert await Socket(connection).closed() == (4406, "Subprotocol not acceptable")


PING_MESSAGE = json.dumps({"type": "ping"}).encode()
FRAMES: dict[str, tuple[int, bytes]] = {
    "an unmasked frame": (1002, bytes([LAST | TEXT, 2]) + b"{}"),
    "a reserved bit": (1002, frame(LAST | TEXT | 0x40, b"{}")),
    "an unknown opcode": (1002, frame(LAST | 0x3, b"{}")),
    "a continuation of nothing": (1002, frame(LAST | CONTINUATION, b"{}")),
    "a message within a message": (1002, frame(TEXT, b"{") + frame(LAST | TEXT, b"}")),
    "a fragmented ping": (1002, frame(PING, b"x")),
    "a long ping": (1002, frame(LAST | PING, b"x" * 126)),
    "a close of one byte": (1002, frame(LAST | CLOSE, b"x")),
    "a close with a code that is none": (1002, frame(LAST | CLOSE, struct.pack("!H", 999))),
    "a close with a reason that is no text": (1007, frame(LAST | CLOSE, struct.pack("!H", 1000) + b"\xff")),
    "no text": (1007, frame(LAST | TEXT, b'"\xff"')),
    "no text in pieces": (1007, frame(TEXT, b'"\xc3') + frame(LAST | CONTINUATION, b'"')),
    "binary": (4400, frame(LAST | BINARY, PING_MESSAGE)),
    "binary in pieces": (4400, frame(BINARY, b"{") + frame(LAST | CONTINUATION, b"}")),
    "too long a frame": (1009, frame(LAST | TEXT, b" " * 1_100_000)),
    "too long in pieces": (1009, frame(TEXT, b" " * 600_000) + frame(LAST | CONTINUATION, b" " * 600_000)),
    "a length without its bytes": (1009, bytes([LAST | TEXT, 0xFF]) + struct.pack("!Q", 2**62)),
    "a length beyond 63 bits": (1009, bytes([LAST | TEXT, 0xFF]) + struct.pack("!Q", 2**64 - 1)),
    "a good close": (1000, frame(LAST | CLOSE, struct.pack("!H", 1000))),
    "100,000 pieces of nothing": (
        4400,
        frame(TEXT, b"[") + frame(CONTINUATION) * 100_000 + frame(LAST | CONTINUATION, b"]"),
    ),
}


@pytest.mark.parametrize("initialised", [False, True], ids=["before the init", "after it"])
async def test_frames(bystander: Client, subtests: pytest.Subtests, *, initialised: bool) -> None:
    for name, (code, data) in FRAMES.items():
        with subtests.test(name):
            async with wired(bystander.api) as wire:
                await shaken(wire)
                if initialised:
                    text = json.dumps({"type": "connection_init", "payload": init(bystander)}).encode()
                    await wire.send(frame(LAST | TEXT, text))
                await wire.send(data)

                assert await close_code(wire) == code
            await unharmed(bystander)


async def test_a_message_in_pieces_is_one_message(bystander: Client) -> None:
    pieces = [bytes([byte]) for byte in PING_MESSAGE]
    data = frame(TEXT) + b"".join(frame(CONTINUATION, piece) + frame(LAST | PING) for piece in pieces)

    async with wired(bystander.api) as wire:
        await shaken(wire)
        await wire.send(data + frame(LAST | CONTINUATION))
        async with asyncio.timeout(20):
            said = await wire.reader.readuntil(b'{"type":"pong"}')

    assert said.count(bytes([LAST | PONG, 0])) == len(pieces)


async def test_a_hostile_frame_ends_the_operations_of_its_socket_in_silence(
    bystander: Client, services: Services
) -> None:
    workflow_id = await factories.workflow(bystander, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    for data in (frame(LAST | TEXT, b"\xff"), frame(LAST | 0x3), frame(LAST | TEXT, b" " * 1_100_000)):
        async with wired(bystander.api) as wire:
            await shaken(wire)
            await watch(wire, bystander, {"query": factories.FEED, "variables": {"after": feed_cursor(0)}})
            async with asyncio.timeout(20):
                await wire.reader.readuntil(b'"next"')
            await wire.send(data)
            await factories.note(services, id, count=20)
            await wire.closed()


async def test_a_long_reason_is_cut_to_what_a_close_frame_holds(bystander: Client) -> None:
    async with bystander.socket() as socket:
        for _ in range(2):
            await socket.subscribe("é" * 1_000, factories.FEED)
        code, reason = await socket.closed()
    async with bystander.socket() as socket:
        await socket.send(type="x" * 1_000)
        other, _ = await socket.closed()

    assert (code, other) == (4409, 4400)
    assert reason is not None
    assert reason.startswith("Subscriber for ééé")


async def test_a_client_that_comes_back_with_a_new_token_goes_on_from_its_cursor(
    quiet_log: Quiet, api: Api, services: Services
) -> None:
    async with api.client("alice") as alice:
        workflow_id = await factories.workflow(alice, "nobody")
        (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    query = "subscription ($after: String) { executionFeed(after: $after) { cursor version } }"
    seen, cursor = [], feed_cursor(0)

    for token in (signed(exp=int(time.time()) + 5), auth.mint(SECRET, "alice")):
        async with api.bearing(token) as client, client.socket() as socket:
            await socket.subscribe("1", query, {"after": cursor})
            event = (await socket.next())["executionFeed"]
            seen.append(event["version"])
            cursor = event["cursor"]
            if len(seen) == 1:
                closed = await socket.closed()
                await factories.note(services, id)

    assert closed[0] == FORBIDDEN
    assert seen == [1, 2]
