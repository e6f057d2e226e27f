"""The requests that measure servers, against one that says what it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks import load
from benchmarks.load import Failed

REQUEST = load.get("/", "token")
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}"
WITH_ERRORS = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"errors": 1}'


@asynccontextmanager
async def answering(answer: bytes, pieces: int = 1) -> AsyncIterator[int]:
    """The port of a server with one answer for everything, which it sends piece by piece."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(len(REQUEST)):
            size = -(-len(answer) // pieces)
            for place in range(0, len(answer), size):
                writer.write(answer[place : place + size])
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("answer", [WHOLE, CHUNKED])
@pytest.mark.parametrize("pieces", [1, 7])
async def test_each_request_is_answered_once(answer: bytes, pieces: int) -> None:
    async with answering(answer, pieces) as port:
        answers = await load.drive_through(port, [REQUEST] * 50, connections=4)

    assert answers.count == 50
    assert 0 < answers.latency_ms(50) <= answers.latency_ms(99)


async def test_driving_ends_in_time() -> None:
    async with answering(WHOLE) as port:
        answers = await load.drive(port, [REQUEST], connections=2, seconds=0.2)

    assert answers.count > 0
    assert 0.2 <= answers.seconds < 10


@pytest.mark.parametrize("answer", [BROKEN, WITH_ERRORS])
async def test_a_failure_is_no_answer(answer: bytes) -> None:
    async with answering(answer) as port:
        with pytest.raises(Failed):
            await load.ask(port, REQUEST)
