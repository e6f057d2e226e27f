"""One HTTP request and its response: the two ends that an ASGI application is given."""

import asyncio
import logging
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from itertools import starmap
from typing import Protocol

from starlette.types import ASGIApp, Message, Scope

log = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CLOSE: Header = (b"connection", b"close")
CHUNKED: Header = (b"transfer-encoding", b"chunked")
STATUS_LINES = {int(each): f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}
BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
FAILURE = b"Internal Server Error"
# Most are the same in all responses.
HEADERS = 512

_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n")


class Carrier(Protocol):
    """The connection that requests come over, and responses go."""

    transport: asyncio.Transport
    writable: asyncio.Event

    @property
    def headers_of_all(self) -> Sequence[Header]:
        """What every response has."""
        ...

    def resume_reading(self) -> None:
        """Take more of what the peer sends."""
        ...

    def answered(self, exchange: "Exchange") -> None:
        """Note that a response is sent."""
        ...


class Exchange:
    """A request as it comes, and its response as it goes: the head together with a body of known length."""

    __slots__ = (
        "_body",
        "_carrier",
        "_expects",
        "_head",
        "_left",
        "_news",
        "_waiter",
        "complete",
        "disconnected",
        "keeps",
        "more_body",
        "scope",
        "started",
    )

    def __init__(self, carrier: Carrier, scope: Scope, *, keeps: bool, expects: bool) -> None:
        self.scope = scope
        self.keeps = keeps
        self.more_body = True
        self.started = self.complete = self.disconnected = False
        self._carrier = carrier
        self._expects = expects
        self._body = bytearray()
        self._news = False
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""
        # How much of the body has yet to be sent; None where it comes in chunks.
        self._left: int | None = 0

    @property
    def streams(self) -> bool:
        """Whether the response comes in chunks, and more of them may come."""
        return self.started and self._left is None and not self.complete

    def feed(self, data: bytes) -> int:
        """Take a part of the request's body; how much of it the application has yet to take."""
        if self.complete or self.disconnected:
            return 0
        self._body += data
        self._tell()
        return len(self._body)

    def end(self) -> None:
        """The request is whole."""
        self.more_body = False
        self._tell()

    def disconnect(self) -> None:
        """The peer is gone, or is told no more."""
        if not self.complete:
            self.disconnected = True
            self._tell()

    async def run(self, app: ASGIApp) -> None:
        """Have an application answer."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException:
            log.exception("Exception in the application")
            await self._fail()
        else:
            if not self.complete and not self.disconnected:
                log.error("The application returned without a response")
                await self._fail()

    async def receive(self) -> Message:
        """What came of the body since, or that there is nobody any more."""
        if self._expects and not self._carrier.transport.is_closing():
            self._expects = False
            self._carrier.transport.write(CONTINUE)
        if not self._news and not self.complete:
            self._carrier.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.disconnected or self.complete:
            return {"type": "http.disconnect"}
        self._news = False
        body, self._body = bytes(self._body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """Send a head or a part of a body, as soon as the peer has read enough of what was sent before."""
        if not self._carrier.writable.is_set():
            await self._carrier.writable.wait()
        if self.disconnected:
            return
        if not self.started and message["type"] == "http.response.start":
            self._begin(message["status"], message.get("headers", ()))
        elif self.started and not self.complete and message["type"] == "http.response.body":
            self._continue(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"No {message['type']} can be sent now")

    def _begin(self, status: int, headers: Iterable[Header]) -> None:
        sent = [*self._carrier.headers_of_all, *headers]
        named = dict(sent)
        length = named.get(b"content-length")
        if length is None and (status in BODILESS or self.scope["method"] == "HEAD"):
            left: int | None = 0
        elif length is None:
            left = None
            sent.append(CHUNKED)
        else:
            left = int(length)
        if named.get(b"connection") == b"close":
            self.keeps = False
        elif not self.keeps:
            sent.append(CLOSE)
        self._head = b"".join([STATUS_LINES[status], *starmap(_line, sent), b"\r\n"])
        self._left, self.started, self._expects = left, True, False
        if left is None:
            self._flush(b"")

    def _continue(self, body: bytes, *, more: bool) -> None:
        if self._left is None:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._flush(chunk if more else chunk + LAST_CHUNK)
        elif self.scope["method"] == "HEAD":
            self._left = 0
            self._flush(b"")
        else:
            self._left -= len(body)
            self._flush(body)
        if not more:
            self._finish()

    def _flush(self, data: bytes) -> None:
        if self._left is not None and self._left < 0:
            raise RuntimeError("The body is longer than its head said")
        self._carrier.transport.write(self._head + data)
        self._head = b""

    def _finish(self) -> None:
        if self._left:
            raise RuntimeError("The body is shorter than its head said")
        self.complete = True
        self._tell()
        self._carrier.answered(self)

    async def _fail(self) -> None:
        """Say that this went wrong, where nothing else was said, and end the connection."""
        if self.started:
            self._carrier.transport.close()
            return
        length = (b"content-length", b"%d" % len(FAILURE))
        headers = [(b"content-type", b"text/plain; charset=utf-8"), length, CLOSE]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": FAILURE})

    def _tell(self) -> None:
        self._news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@lru_cache(HEADERS)
def _line(name: bytes, value: bytes) -> bytes:
    """A header as it is sent; raises ValueError for what would not be one."""
    line = b"%b: %b\r\n" % (name, value)
    if not _LINE.fullmatch(line):
        raise ValueError(f"This is no header: {name!r}")
    return line
