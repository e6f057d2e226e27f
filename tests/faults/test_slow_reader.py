"""A subscriber that reads nothing costs the API process next to nothing, and then gets everything."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import websockets

from tests.client import Client, Socket
from tests.eventually import eventually
from tests.faults.load import Load, loaded
from tests.faults.record import Record
from tests.faults.sizes import Size
from tests.faults.stack import Stack
from tests.faults.subscribers import position
from tests.processes.commands import resident_bytes

ALLOWED_BYTES = 5_000_000
BATCH = 50
DETAILS = {"text": "x" * 1_000}
QUERY = "subscription ($after: String) { executionFeed(after: $after) { cursor details } }"


async def test_a_reader_that_reads_nothing(stack: Stack, size: Size, record: Record) -> None:
    count = size.slow_reader_events
    async with loaded(stack) as load, numb(load.user) as slow:
        # What any traffic costs once, such as the ring, is not the slow reader's.
        read_so_far = list[int]()
        brisk = asyncio.create_task(read(load.user, 1, 2 * count, read_so_far))
        await write(load, count, size.slow_reader_seconds / 4)
        await eventually(lambda: len(read_so_far) == count, 60)
        await slow.subscribe("1", QUERY, {"after": cursor(1 + count)})
        before = peak = resident_bytes(load.replica.process.pid)

        for _ in range(10):
            await write(load, count // 10, size.slow_reader_seconds / 10)
            peak = max(peak, resident_bytes(load.replica.process.pid))

        await brisk
        assert read_so_far == list(range(2, 2 * count + 2))
        got = [position((await slow.next())["executionFeed"]["cursor"]) for _ in range(count)]
        assert got == list(range(count + 2, 2 * count + 2))
        assert peak - before < ALLOWED_BYTES, f"{(peak - before) / 1e6:.1f} MB"
    record.notes.append(
        f"Slow reader: {count:,} events of 1 KB passed a subscriber that read nothing for "
        f"{size.slow_reader_seconds:.0f} s; the API process grew by {(peak - before) / 1e6:.1f} MB at most, "
        "and the subscriber then got all of them in order."
    )


@asynccontextmanager
async def numb(user: Client) -> AsyncIterator[Socket]:
    """A socket that takes what it is asked for and no more, and never asks for a sign of life."""
    async with websockets.connect(
        user.api.ws_url,
        subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
        max_queue=1,
        ping_interval=None,
    ) as connection:
        socket = Socket(connection)
        await socket.send(type="connection_init", payload={"Authorization": f"Bearer {user.token}"})
        assert (await socket.receive())["type"] == "connection_ack"
        yield socket


async def read(user: Client, after: int, count: int, got: list[int]) -> None:
    """Take the positions of the next events behind one as they come."""
    async with user.socket() as socket:
        await socket.subscribe("1", QUERY, {"after": cursor(after)})
        while len(got) < count:
            event = (await socket.receive(120))["payload"]["data"]["executionFeed"]
            assert event["details"] == DETAILS
            got.append(position(event["cursor"]))


async def write(load: Load, count: int, seconds: float) -> None:
    """Write so many events, spread over that time."""
    for _ in range(count // BATCH):
        began = time.monotonic()
        await load.writer.write(BATCH, DETAILS)
        await asyncio.sleep(max(0.0, seconds * BATCH / count - (time.monotonic() - began)))


def cursor(place: int) -> str:
    return base64.urlsafe_b64encode(f"f1:{place}".encode()).decode().rstrip("=")
