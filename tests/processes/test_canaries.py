"""What users send stays out of every log, at DEBUG too: tokens, documents, variables, headers, URLs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
import pytest_asyncio
import websockets

from app.auth import mint
from tests import factories
from tests.client import SECRET, Api, Client, Socket, connected
from tests.eventually import eventually
from tests.identity import identity_provider, signer
from tests.processes.commands import Command, Program, Replica

CANARY = "canary-7f3a9c51e8"
SSE, MULTIPART = "text/event-stream", "multipart/mixed;subscriptionSpec=1.0, application/json"
SEARCH = "query ($text: String) { workflows(search: $text) { totalCount } }"
WATCH = "subscription ($id: ID!) { executionEvents(executionId: $id) { id } }"

# Good ones and bad ones, each with the canary in its document or its variables.
OPERATIONS: dict[str, tuple[str, Any]] = {
    "a literal": (f'{{ workflows(search: "{CANARY}") {{ totalCount }} }}', None),
    "a variable": (SEARCH, {"text": CANARY}),
    "a comment": (f"{{ viewer {{ id }} }} # {CANARY}", None),
    "a syntax error": (f'{{ workflows(search: "{CANARY}" {{ totalCount }} }}', None),
    "a literal of a wrong type": (f'{{ workflows(first: "{CANARY}") {{ totalCount }} }}', None),
    "a variable of a wrong type": (SEARCH, {"text": {"deep": [CANARY]}}),
    "a cursor": (f'{{ executions(after: "{CANARY}") {{ totalCount }} }}', None),
    "an id": (f'{{ execution(id: "{CANARY}") {{ id }} }}', None),
    "an id of a node": (f'{{ node(id: "{CANARY}") {{ id }} }}', None),
    "an unknown field": (f"{{ viewer {{ id {CANARY.replace('-', '_')} }} }}", None),
    "an unknown argument": (f'{{ viewer(secret: "{CANARY}") {{ id }} }}', None),
    "a directive": (f'{{ viewer {{ id @hide(from: "{CANARY}") }} }}', None),
    "a mutation": (factories.CREATE_WORKFLOW, {"input": {"name": CANARY, "taskQueue": CANARY}}),
    "a subscription": (f'subscription {{ executionEvents(executionId: "{CANARY}") {{ id }} }}', None),
    "an unknown execution": (WATCH, {"id": CANARY}),
    "too many tokens": ("{" + f' a(b: "{CANARY}")' * 3_000 + "}", None),
}


@pytest_asyncio.fixture
async def replica(program: Program) -> AsyncIterator[Replica]:
    async with program.serve(LOG_LEVEL="DEBUG", LOG_FORMAT="json") as started:
        yield started


def silent(command: Command, *secrets: str) -> list[dict[str, Any]]:
    """What the process has logged, line by line, which must hold none of the secrets."""
    said = command.said()
    for secret in (CANARY, CANARY.replace("-", "_"), quote(CANARY), *secrets):
        assert secret not in said
    return [orjson.loads(line) for line in said.splitlines()]


def parts(token: str) -> tuple[str, ...]:
    """What a token could be recognised by; its header is everybody's."""
    return tuple(token.split(".")[1:])


async def test_operations_over_every_transport(replica: Replica) -> None:
    token = mint(SECRET, CANARY)
    async with replica.api.bearing(token) as client, client.socket() as socket:
        for query, variables in OPERATIONS.values():
            await client.post(query, variables)
            await _read(client, SSE, query, variables)
            await _read(client, MULTIPART, query, variables)
            # A longer address is refused by this client itself.
            params = {"query": query[:5_000], "variables": json.dumps(variables)}
            await client.http.get(replica.api.url, params=params)
            await socket.subscribe("1", query, variables)
            while (await socket.receive())["type"] == "next":
                pass

    lines = silent(replica, *parts(token))
    assert {line["level"] for line in lines} == {"INFO"}
    assert {line["code"] for line in lines if "code" in line} >= {"INVALID_INPUT", "NOT_FOUND"}
    assert len(replica.said()) / len(lines) < 500


async def _read(client: Client, accept: str, query: str, variables: Any) -> None:
    body = {"query": query, "variables": variables}
    async with client.http.stream("POST", client.api.url, json=body, headers={"Accept": accept}) as response:
        await response.aread()


async def test_an_input_from_its_start_to_its_record(program: Program, replica: Replica) -> None:
    async with (
        program.run("track", LOG_LEVEL="DEBUG", LOG_FORMAT="json") as tracker,
        replica.api.client("alice") as alice,
    ):
        workflow_id = await factories.workflow(alice, f"nobody-{CANARY}")
        started = await factories.start(alice, workflow_id, {"card": CANARY})
        await factories.asked(
            alice, factories.SIGNAL, started["id"], signal=CANARY, arguments=[{"card": CANARY}]
        )
        await factories.asked(alice, factories.TERMINATE, started["id"], reason=CANARY)

        await eventually(lambda: _has_failed(alice, started["id"]), 30)

        silent(tracker)
    silent(replica)


async def _has_failed(alice: Client, id: str) -> bool:
    return "FAILED" in {event["status"] for event in await factories.history(alice, id)}


async def test_headers_and_urls(replica: Replica) -> None:
    token, url = mint(SECRET, CANARY), replica.api.url
    headers = [
        {"Authorization": f"Bearer {CANARY}"},
        {"Authorization": CANARY},
        {"Authorization": f"Basic {CANARY}"},
        {"Authorization": f"Bearer {token}", "Cookie": f"session={CANARY}", "X-Api-Key": CANARY},
        {"Authorization": f"Bearer {token[:-4]}AAAA", "Content-Type": CANARY, "Accept": CANARY},
        {"X-Request-ID": token, "traceparent": CANARY, "Origin": f"https://{CANARY}", "Host": CANARY},
    ]
    async with httpx.AsyncClient(verify=False) as http:
        for each in headers:
            await http.post(url, json={"query": "{ viewer { id } }"}, headers=each)
            await http.get(f"{url}?query={CANARY}&token={CANARY}&{CANARY}", headers=each)
            await http.request(CANARY.upper(), f"{url}/{CANARY}", headers=each)
    await _raw(replica.api, f"GET /{CANARY} HTTP/9\r\n{CANARY}\r\n\r\n".encode())
    await _raw(replica.api, f"{CANARY}\r\n\r\n".encode())
    await _raw(replica.api, f"GET /?{CANARY} HTTP/1.1\r\nHost: x\r\nUpgrade: {CANARY}\r\n\r\n".encode())

    lines = silent(replica, *parts(token))
    assert "UNAUTHENTICATED" in {line.get("code") for line in lines}


async def _raw(api: Api, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        if request.startswith(UPGRADE):
            writer.write(UPGRADE)
            await reader.readuntil(b"\r\n\r\n")
        writer.write(request.removeprefix(UPGRADE))
        writer.write_eof()
        async with asyncio.timeout(30):
            await reader.read()
    writer.close()


async def test_frames(replica: Replica) -> None:
    token = mint(SECRET, CANARY)
    frames: list[str | bytes] = [
        CANARY,
        CANARY.encode(),
        json.dumps({"type": CANARY}),
        json.dumps({"type": "connection_init", "payload": {"Authorization": CANARY}}),
        json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {CANARY}"}}),
        json.dumps({"type": "connection_init", "payload": {CANARY: CANARY}}),
        json.dumps({"type": "connection_init", "payload": CANARY}),
        json.dumps({"type": "subscribe", "id": CANARY, "payload": {"query": CANARY}}),
        json.dumps({"type": "connection_init", "payload": {"x": CANARY * 100_000}}),
    ]
    for frame in frames:
        async with connected(replica.api, f"?token={CANARY}") as connection:
            with suppress(websockets.ConnectionClosed):
                await connection.send(frame)
            await Socket(connection).closed()
    async with connected(replica.api, f"?token={token}&secret={CANARY}") as connection:
        await connection.send(json.dumps({"type": "connection_init"}))
        assert (await Socket(connection).receive())["type"] == "connection_ack"
        # A text frame that is none.
        connection.transport.write(b"\x81\x93\0\0\0\0\xff\xff" + CANARY.encode())
        await Socket(connection).closed()

    lines = silent(replica, *parts(token))
    assert not [line for line in lines if "trace" in line]


UPGRADE = (
    f"GET /graphql?x={CANARY} HTTP/1.1\r\nHost: {CANARY}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
).encode()
MASK = b"\0\0\0\0"
WORD = CANARY.encode()
BYTES = {
    "no HTTP": WORD * 100,
    "no method": b" / HTTP/1.1\r\n\r\n",
    "no version": b"GET /" + WORD + b"\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\n" + WORD + b"\r\n\r\n",
    "two lengths": b"POST /graphql HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n" + WORD,
    "a negative length": b"POST /graphql HTTP/1.1\r\nContent-Length: -1\r\n\r\n" + WORD,
    "length and chunks": (
        b"POST /graphql HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + WORD
    ),
    "a broken chunk": b"POST /graphql HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + WORD,
    "a body cut off": b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + WORD,
    "a header of 200 kB": b"GET / HTTP/1.1\r\nX: " + WORD * 10_000 + b"\r\n\r\n",
    "another upgrade": b"GET /graphql HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: " + WORD + b"\r\n\r\n",
    "an upgrade without a key": UPGRADE.replace(b"Sec-WebSocket-Key", b"X-Key"),
    "an upgrade of version 7": UPGRADE.replace(b"Version: 13", b"Version: 7"),
    "an upgrade with a short key": UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"x"),
    "an upgrade elsewhere": UPGRADE.replace(b"/graphql", b"/" + WORD),
    "a frame without a mask": UPGRADE + b"\x81\x11" + WORD,
    "a frame of an unknown kind": UPGRADE + b"\x83\x91" + MASK + WORD,
    "reserved bits": UPGRADE + b"\xf1\x91" + MASK + WORD,
    "no UTF-8": UPGRADE + b"\x81\x93" + MASK + b"\xff\xff" + WORD,
    "a binary frame": UPGRADE + b"\x82\x91" + MASK + WORD,
    "a frame that is too long": UPGRADE + b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + MASK + WORD,
    "a continuation of nothing": UPGRADE + b"\x80\x91" + MASK + WORD,
    "a close of a wrong code": UPGRADE + b"\x88\x82" + MASK + b"\0\x01",
    "a long ping": UPGRADE + b"\x89\xfe\0\x7e" + MASK + b"x" * 126,
    "half a frame": UPGRADE + b"\x81\x91" + MASK + WORD[:5],
}


async def test_bytes_that_no_client_would_send(replica: Replica, subtests: pytest.Subtests) -> None:
    seen = 0
    for name, sent in BYTES.items():
        with subtests.test(name):
            await _raw(replica.api, sent)
            await _raw(replica.api, b"GET /health HTTP/1.0\r\n\r\n")

            lines = silent(replica)
            assert not [line for line in lines[seen:] if "trace" in line or line["level"] != "INFO"]
            assert sum(len(orjson.dumps(line)) for line in lines[seen:]) < 2_000
            seen = len(lines)


async def test_an_identity_provider_and_its_tokens(program: Program) -> None:
    key = signer(CANARY)
    without_secret = Program(
        program.files, {k: v for k, v in program.environment.items() if k != "JWT_SECRET"}
    )
    async with identity_provider() as provider:
        given = {
            "JWT_JWKS_URL": provider.url.replace("//", f"//user:{CANARY}@"),
            "JWT_JWKS_REFRESH_SECONDS": "0.1",
        }
        # It starts while there is no key to be had.
        async with (
            without_secret.serve(LOG_LEVEL="DEBUG", **given) as replica,
            replica.api.bearing(key.token()) as alice,
        ):
            assert (await alice.post("{ viewer { id } }")).status_code == 503
            provider.keys.append(key.jwk())
            await eventually(lambda: _gets_in(alice))
            async with replica.api.bearing(signer("another").token(header={"kid": CANARY})) as stranger:
                assert (await stranger.post("{ viewer { id } }")).status_code == 401

        silent(replica, *parts(key.token()))
        assert replica.said().count("The JWKS cannot be fetched") == 1


async def _gets_in(alice: Client) -> bool:
    return (await alice.post("{ viewer { id } }")).is_success
