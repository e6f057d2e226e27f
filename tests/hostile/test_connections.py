"""Those who send slowly, too much, or no HTTP at all: cut off in time, and told why where they can be."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from app.settings import Settings
from resolvers.context import Services
from tests import factories
from tests.client import Api, Client, serving
from tests.eventually import eventually
from tests.hostile.conftest import unharmed
from tests.hostile.wire import Wire, request, wired

INVALID = ["INVALID_INPUT"]
HASTY = {
    "head_timeout_seconds": 0.5,
    "body_timeout_seconds": 0.5,
    "keep_alive_seconds": 0.5,
    "socket_silence_seconds": 0.5,
    "metrics": True,
}
GOOD_HEAD = ("POST /graphql HTTP/1.1", "Host: x")


@pytest_asyncio.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """A replica that waits for nobody."""
    async with serving(settings.model_copy(update=HASTY)) as replica:
        yield replica


async def drip(wire: Wire, text: str) -> None:
    """Send a text without end, a piece at a time, until the server has enough of it."""
    while not wire.reader.at_eof() and not wire.writer.is_closing():
        await wire.send(text)
        await asyncio.sleep(0.05)


async def test_who_sends_nothing_is_let_go(bystander: Client) -> None:
    async with wired(bystander.api) as wire:
        assert await wire.closed() == b""


DRIPS = {
    "empty lines": ("", "\r\n"),
    "the method": ("G", "E"),
    "headers": ("POST /graphql HTTP/1.1\r\n", "X-A: b\r\n"),
    "a header": ("POST /graphql HTTP/1.1\r\nX-A: ", "b"),
    "the address": ("POST /graphql?", "a"),
}


async def test_a_head_that_drips_is_cut_off(bystander: Client, subtests: pytest.Subtests) -> None:
    for name, (begin, piece) in DRIPS.items():
        with subtests.test(name):
            async with wired(bystander.api) as wire:
                await wire.send(begin)
                dripping = asyncio.create_task(drip(wire, piece))
                said = await wire.closed()
                dripping.cancel()

            assert said == b"" or said.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 400 "))
            await unharmed(bystander)


async def test_a_head_that_stops_is_told_so(bystander: Client) -> None:
    async with wired(bystander.api) as wire:
        await wire.send(*GOOD_HEAD, "X-A")
        answer = await wire.answer()
        rest = await wire.closed()

    assert (answer.status, answer.codes, rest) == (408, INVALID, b"")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_a_body_that_drips_is_cut_off_and_does_nothing(bystander: Client, framing: str) -> None:
    before = await factories.holdings(bystander)
    head = request(bystander.token, b"").decode().replace("Content-Length: 0", framing)

    async with wired(bystander.api) as wire:
        await wire.send(head)
        piece = " " if "Length" in framing else "1\r\n \r\n"
        dripping = asyncio.create_task(drip(wire, piece))
        answer = await wire.answer()
        await wire.closed()
        dripping.cancel()

    assert (answer.status, answer.codes) == (408, INVALID)
    assert await factories.holdings(bystander) == before


async def test_a_body_that_drips_after_its_answer_is_cut_off(bystander: Client) -> None:
    async with wired(bystander.api) as wire:
        await wire.send(request("nobody", b"", length=1_000))
        answer = await wire.answer()
        dripping = asyncio.create_task(drip(wire, " "))
        rest = await wire.closed()
        dripping.cancel()

    assert (answer.status, answer.codes, rest) == (401, ["UNAUTHENTICATED"], b"")


async def test_an_idle_connection_is_let_go_and_a_busy_one_is_kept(bystander: Client) -> None:
    async with wired(bystander.api) as wire:
        for _ in range(3):
            await wire.send(request(bystander.token))
            assert (await wire.answer()).status == 200

        assert await wire.closed() == b""


async def test_a_stream_outlives_every_deadline(bystander: Client, services: Services) -> None:
    workflow_id = await factories.workflow(bystander, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    body = json.dumps({"query": factories.FEED}).encode()

    async with wired(bystander.api) as wire, wired(bystander.api) as idle:
        await wire.send(request(bystander.token, body, "Accept: text/event-stream"))
        await wire.reader.readuntil(b"\r\n\r\n")
        await idle.closed()
        async with wired(bystander.api) as another:
            await another.closed()
        await factories.note(services, id)
        async with asyncio.timeout(20):
            assert b"event: next" in await wire.reader.readuntil(b"event: next")


async def test_who_does_not_read_a_stream_is_cut_off(bystander: Client, services: Services) -> None:
    workflow_id = await factories.workflow(bystander, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    body = json.dumps({"query": "subscription { executionFeed { details } }"}).encode()

    async with wired(bystander.api, limit=1_000) as wire:
        await wire.send(request(bystander.token, body, "Accept: text/event-stream"))
        await eventually(lambda: serves(bystander, 1))
        for _ in range(10):
            await factories.note(services, id, count=20, details={"text": "x" * 50_000})

        await eventually(lambda: serves(bystander, 0), 30)


HEADS = {
    "a large header": (431, "X-A: " + "a" * 70_000),
    "many headers": (431, "\r\n".join(f"X-{n}: a" for n in range(101))),
    "two lengths": (400, "Content-Length: 7"),
    "a length and chunks": (400, "Transfer-Encoding: chunked"),
    "a negative length": (400, "Content-Length: -1"),
    "two hosts": (400, "Host: y"),
    "a header without a colon": (400, "nonsense"),
    "a folded header": (400, "X-A: b\r\n c"),
    "a header with NUL": (400, "X-A: \x00"),
    "a header with a bare CR": (400, "X-A: b\rX-B: c"),
    "a space before the colon": (400, "X-A : b"),
}


async def test_heads_that_are_none(bystander: Client, subtests: pytest.Subtests) -> None:
    for name, (status, line) in HEADS.items():
        with subtests.test(name):
            async with wired(bystander.api) as wire:
                await wire.send(request(bystander.token, b"{}", line))
                answer = await wire.answer()
                await wire.closed()

            assert (answer.status, answer.codes) == (status, INVALID)
            assert answer.headers["content-type"] == "application/graphql-response+json"
            await unharmed(bystander)


LINES = {
    "no HTTP": (400, "hello"),
    "TLS": (400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "another protocol": (400, "SSH-2.0-OpenSSH_9.6"),
    "HTTP/2": (400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/9.9": (400, "GET /graphql HTTP/9.9\r\nHost: x\r\n\r\n"),
    "no version": (400, "GET /graphql\r\n\r\n"),
    "no host": (400, "GET /graphql HTTP/1.1\r\n\r\n"),
    "unknown method": (400, "NONSENSE /graphql HTTP/1.1\r\nHost: x\r\n\r\n"),
    "CONNECT": (400, "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a long address": (414, "GET /" + "a" * 70_000 + " HTTP/1.1\r\nHost: x\r\n\r\n"),
    "an address beyond ASCII": (400, "GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"),
    "an address without a path": (400, "GET http://x HTTP/1.1\r\nHost: x\r\n\r\n"),
    **{
        f"the length {length}": (
            400,
            f"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n",
        )
        for length in ("x", "1e3", "0x10", "+5", "5.0", "1,1", "9" * 30)
    },
    "chunks that are none": (400, "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
    "another path": (404, "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a path that is none": (404, "GET /%00%ff HTTP/1.1\r\nHost: x\r\n\r\n"),
    "TRACE": (405, "TRACE /graphql HTTP/1.1\r\nHost: x\r\n\r\n"),
    "another protocol offered": (
        401,
        "GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    ),
    "HTTP/1.0": (401, "GET /graphql HTTP/1.0\r\n\r\n"),
}


async def test_requests_that_are_none(bystander: Client, subtests: pytest.Subtests) -> None:
    for name, (status, text) in LINES.items():
        with subtests.test(name):
            async with wired(bystander.api) as wire:
                await wire.send(text)
                answer = await wire.answer()

            assert answer.status == status
            await unharmed(bystander)


async def test_trailers_are_bounded_and_do_not_become_headers(bystander: Client) -> None:
    chunked = ("Transfer-Encoding: chunked", "Content-Type: application/json", "", "")
    async with wired(bystander.api) as wire:
        await wire.send(*GOOD_HEAD, *chunked[:-1], "0", f"Authorization: Bearer {bystander.token}", "", "")
        trailed = await wire.answer()
    async with wired(bystander.api) as wire:
        await wire.send(*GOOD_HEAD, f"Authorization: Bearer {bystander.token}", *chunked)
        await wire.send("0\r\nX-A: " + "a" * 1_000_000)
        large = await wire.answer()

    assert trailed.status == 401
    assert large.status == 431


async def test_requests_in_a_row_are_answered_in_order_and_bounded(bystander: Client) -> None:
    def asked(alias: str) -> bytes:
        return request(bystander.token, json.dumps({"query": f"{{ {alias}: __typename }}"}).encode())

    async with wired(bystander.api) as wire:
        await wire.send(b"".join(asked(f"a{n}") for n in range(5)))
        answers = [json.loads((await wire.answer()).body) for _ in range(5)]
    async with wired(bystander.api) as wire:
        await wire.send(request(bystander.token) * 500)
        said = await wire.closed()

    assert answers == [{"data": {f"a{n}": "Query"}} for n in range(5)]
    assert 17 <= said.count(b"HTTP/1.1 200 OK") < 500
    assert said.count(b"HTTP/1.1 ") == said.count(b"HTTP/1.1 200 OK")


async def test_a_stream_ends_with_its_connection_even_if_more_was_asked_for_on_it(
    bystander: Client, services: Services
) -> None:
    body = json.dumps({"query": factories.FEED}).encode()

    async with wired(bystander.api) as wire:
        await wire.send(request(bystander.token, body, "Accept: text/event-stream"))
        await wire.send(request(bystander.token))
        await eventually(lambda: serves(bystander, 1))

    await eventually(lambda: serves(bystander, 0))


async def serves(client: Client, subscriptions: int) -> bool:
    """Whether the replica serves so many subscriptions."""
    page = await client.http.get(client.api.url.replace("/graphql", "/metrics"))
    return f"\nsubscriptions {subscriptions}.0\n" in page.text


async def test_connections_that_wait_make_room_for_those_that_ask(
    quiet_log: Callable[[], None], settings: Settings
) -> None:
    few: dict[str, Any] = {"max_connections": 20, "head_timeout_seconds": 300.0}
    async with serving(settings.model_copy(update=few)) as api, AsyncExitStack() as held:
        for kind in ("", "G", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"):
            for _ in range(20):
                wire = await held.enter_async_context(wired(api))
                await wire.send(kind)

            async with api.client("alice") as alice, alice.socket() as socket:
                await socket.subscribe("1", "{ viewer { id } }")
                assert await socket.next() == {"viewer": {"id": "alice"}}
                assert (await alice.post("{ viewer { id } }")).status_code == 200
