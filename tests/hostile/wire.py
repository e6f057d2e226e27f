"""A connection on which anything can be sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson

from tests.client import Api

PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def codes(self) -> list[str]:
        """The codes of the errors that it tells of."""
        return [error["extensions"]["code"] for error in orjson.loads(self.body)["errors"]]


@dataclass(frozen=True)
class Wire:
    """Bytes to and from a server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *lines: str | bytes) -> None:
        """Send lines of a request's head, or a last one without an end."""
        texts = [line.encode("latin-1") if isinstance(line, str) else line for line in lines]
        self.writer.write(b"\r\n".join(texts))
        with suppress(ConnectionError):
            await self.writer.drain()

    async def answer(self) -> Answer:
        """The next response, which must say how long it is."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
            status = int(head[0].split()[1])
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(status, headers, body)

    async def closed(self) -> bytes:
        """What comes until the server closes the connection."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionError):
                return await self.reader.read()
        return b""


@asynccontextmanager
async def wired(api: Api, **given: Any) -> AsyncIterator[Wire]:
    """A TCP connection that has sent nothing yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port, **given)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def request(
    token: str, body: bytes = b'{"query": "{ viewer { id } }"}', *more: str, length: int | None = None
) -> bytes:
    """A good request, unless the lines that are added to its head say otherwise."""
    lines = [
        "POST /graphql HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
