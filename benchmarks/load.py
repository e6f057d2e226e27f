"""Requests over connections that are kept open, as many in a row as a server answers.

It must cost less than any server: no HTTP library, requests made beforehand, answers only measured.
"""

import asyncio
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
SUCCESS = re.compile(rb"HTTP/1.1 20[01] ")
HEAD_END, LAST_CHUNK = b"\r\n\r\n", b"\r\n0\r\n\r\n"
HOST = "127.0.0.1"


class Failed(Exception):
    """A server answered something else than success."""


@dataclass
class Answers:
    """What came back, and how long each took."""

    seconds: float = 0.0
    latencies_seconds: list[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.latencies_seconds)

    def latency_ms(self, percent: int) -> float:
        """Within which that share was answered."""
        return statistics.quantiles(self.latencies_seconds, n=100)[percent - 1] * 1000


def post(path: str, token: str, body: bytes) -> bytes:
    """The bytes of a request that brings JSON."""
    return _request("POST", path, token, body)


def get(path: str, token: str) -> bytes:
    """The bytes of a request for something."""
    return _request("GET", path, token, b"")


def _request(method: str, path: str, token: str, body: bytes) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {HOST}",
        "Accept: application/graphql-response+json, application/json",
        f"Authorization: Bearer {token}",
    ]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + HEAD_END + body


async def drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Answers:
    """Ask for so long over so many connections; raises Failed."""
    return await _drive(port, cycle(requests), connections, seconds)


async def drive_through(port: int, requests: Sequence[bytes], connections: int) -> Answers:
    """Ask each of the requests once; raises Failed."""
    return await _drive(port, iter(requests), connections, float("inf"))


async def ask(port: int, request: bytes) -> bytes:
    """The body of one answer; raises Failed."""
    answers, kept = Answers(), list[bytes]()
    await _Connection.run(port, iter([request]), float("inf"), answers, kept)
    return kept[0]


async def _drive(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> Answers:
    answers = Answers()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(_Connection.run(port, requests, began + seconds, answers))
    answers.seconds = time.perf_counter() - began
    return answers


class _Connection(asyncio.Protocol):
    """Asks again as soon as it has its answer."""

    def __init__(
        self, requests: Iterator[bytes], deadline: float, answers: Answers, kept: list[bytes] | None
    ) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._deadline = deadline
        self._answers = answers
        self._kept = kept
        self._buffer = bytearray()
        self._size: int | None = None

    @classmethod
    async def run(
        cls,
        port: int,
        requests: Iterator[bytes],
        deadline: float,
        answers: Answers,
        kept: list[bytes] | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(
            lambda: cls(requests, deadline, answers, kept), HOST, port
        )
        try:
            await connection.ended
        finally:
            transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or Failed("The server hung up"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_whole():
            return
        now = time.perf_counter()
        self._answers.latencies_seconds.append(now - self._asked)
        head, _, body = bytes(self._buffer).partition(HEAD_END)
        if not SUCCESS.match(head) or b'"errors"' in body:
            self.ended.set_exception(Failed(bytes(self._buffer[:2_000]).decode()))
            return
        if self._kept is not None:
            self._kept.append(body)
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        request = next(self._requests, None) if self._asked < self._deadline else None
        if request is None:
            self.ended.set_result(None)
            return
        self._buffer.clear()
        self._size = None
        self._transport.write(request)

    def _is_whole(self) -> bool:
        if self._size is None:
            end = self._buffer.find(HEAD_END)
            if end < 0:
                return False
            length = LENGTH.search(self._buffer, 0, end)
            self._size = end + len(HEAD_END) + int(length[1]) if length else 0
        return len(self._buffer) >= self._size if self._size else self._buffer.endswith(LAST_CHUNK)
