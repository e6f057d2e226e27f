"""A wire to a server that can be made to hold back what is asked, or what is answered."""

import asyncio
from asyncio import Event, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

CHUNK_BYTES = 65_536


@dataclass(frozen=True)
class Wire:
    """While `requests` or `answers` is cleared, that direction stands still; nothing is lost."""

    address: str
    dialled: Event = field(default_factory=Event)
    requests: Event = field(default_factory=Event)
    answers: Event = field(default_factory=Event)


@asynccontextmanager
async def wired(target: str) -> AsyncIterator[Wire]:
    """A wire to the server at `host:port`; what it still holds at the end is never delivered."""
    tasks: set[asyncio.Task[None]] = set()

    def connect(reader: StreamReader, writer: StreamWriter) -> None:
        wire.dialled.set()
        tasks.add(asyncio.create_task(_carry(wire, target, reader, writer)))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    wire = Wire(f"{host}:{port}")
    wire.requests.set()
    wire.answers.set()
    try:
        yield wire
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(wire: Wire, target: str, reader: StreamReader, writer: StreamWriter) -> None:
    host, port = target.rsplit(":", 1)
    with closing(writer), suppress(OSError):
        beyond_reader, beyond_writer = await asyncio.open_connection(host, int(port))
        with closing(beyond_writer):
            asking = asyncio.create_task(_pump(reader, beyond_writer, wire.requests))
            answering = asyncio.create_task(_pump(beyond_reader, writer, wire.answers))
            try:
                await asyncio.wait([asking, answering], return_when=asyncio.FIRST_COMPLETED)
            finally:
                asking.cancel()
                answering.cancel()
                await asyncio.gather(asking, answering, return_exceptions=True)


async def _pump(reader: StreamReader, writer: StreamWriter, gate: Event) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        await gate.wait()
        writer.write(chunk)
        await writer.drain()
