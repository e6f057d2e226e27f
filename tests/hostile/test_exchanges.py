"""Responses that no application should send: none of them is taken for a whole one."""

import logging
from collections.abc import Awaitable, Callable

import pytest
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import Settings
from tests.client import SECRET, served
from tests.hostile.wire import wired

Sends = Callable[[Receive, Send], Awaitable[None]]

SETTINGS = Settings(
    database_url="postgresql://nobody/nothing",
    redis_url="redis://nobody",
    jwt_secret=SecretStr(SECRET),
)
ASKED = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
FAILED = b"HTTP/1.1 500 Internal Server Error"


def head(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def length(size: int) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % size


def application(sends: Sends) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await sends(receive, send)

    return app


def sending(*messages: Message | Exception) -> Sends:
    async def sends(receive: Receive, send: Send) -> None:
        for message in messages:
            if isinstance(message, Exception):
                raise message
            await send(message)

    return sends


WRONG: dict[str, tuple[bytes, Sends]] = {
    "nothing": (FAILED, sending()),
    "a failure": (FAILED, sending(ValueError("a"))),
    "a body without a head": (FAILED, sending(body(b"a"))),
    "a header that is two": (FAILED, sending(head((b"x-a", b"a\r\nx-b: b")), body(b"a"))),
    "a name that is none": (FAILED, sending(head((b"x a", b"a")), body(b"a"))),
    "a status that is none": (FAILED, sending(head(status=999), body(b"a"))),
    "a head alone": (b"", sending(head(length(2)))),
    "less than was said": (b"HTTP/1.1 200 OK", sending(head(length(2)), body(b"a"))),
    "more than was said": (b"", sending(head(length(2)), body(b"abc"))),
    "a stream that fails": (b"HTTP/1.1 200 OK", sending(head(), body(b"a", more=True), ValueError("a"))),
    "two heads": (b"", sending(head(length(2)), head(length(2)))),
}


async def test_what_is_no_response_ends_the_connection(
    caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    for name, (begun, sends) in WRONG.items():
        caplog.clear()
        with subtests.test(name):
            async with served(application(sends), SETTINGS) as api, wired(api) as wire:
                await wire.send(ASKED)
                said = await wire.closed()

            assert said.partition(b"\r\n")[0] == begun
            assert not said.endswith(b"0\r\n\r\n")
            assert [each.levelno for each in caplog.records if each.name.startswith("app")] == [logging.ERROR]


async def test_what_is_a_response_is_sent_as_its_head_says() -> None:
    async def answers(receive: Receive, send: Send) -> None:
        request = await receive()
        await send(head())
        await send(body(request["body"], more=True))
        await send(body(b""))
        assert (await receive())["type"] == "http.disconnect"

    async with served(application(answers), SETTINGS) as api, wired(api) as wire:
        await wire.send(ASKED)
        continued = await wire.reader.readuntil(b"\r\n\r\n")
        await wire.send("ab")
        started = await wire.reader.readuntil(b"\r\n\r\n")
        chunks = await wire.reader.readuntil(b"0\r\n\r\n")
        await wire.send("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        headed = await wire.closed()

    assert continued == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b"\r\ntransfer-encoding: chunked\r\n" in started
    assert chunks == b"2\r\nab\r\n0\r\n\r\n"
    assert headed.endswith(b"\r\nconnection: close\r\n\r\n")
