"""One frame to many lines at once, over real sockets: each gets it whole, once, behind what it got before."""

import asyncio
import os
import socket
from asyncio import Protocol, Transport
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest

from app import crowds
from app.lines import Line

FRAME = b"a frame"
LONG = b"x" * 3_000_000


class Wire(Protocol):
    """A line without WebSocket, and its peer's end."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: Any) -> None:
        self.transport: Transport = transport

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    @property
    def bare_file(self) -> int | None:
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            return None
        return int(self.transport.get_extra_info("socket").fileno())

    def offer(self, frame: bytes) -> bool:
        if self.transport.is_closing() or not self.writable.is_set():
            return False
        self.transport.write(frame)
        return True

    def say(self, frame: bytes) -> None:
        self.transport.write(frame)

    async def got(self, size: int) -> bytes:
        """So many bytes of what the peer gets."""
        received = b""
        while len(received) < size:
            received += await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.peer, 1 << 20), 10)
        return received

    def got_more(self) -> bool:
        """Whether there is something that the peer has not read."""
        try:
            return bool(self.peer.recv(1))
        except BlockingIOError:
            return False


@asynccontextmanager
async def wires(count: int) -> AsyncIterator[list[Wire]]:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as exits:
        found = []
        for _ in range(count):
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            exits.callback(theirs.close)
            transport, wire = await loop.create_connection(lambda peer=theirs: Wire(peer), sock=ours)  # type: ignore[misc]
            exits.callback(transport.abort)
            found.append(wire)
        yield found


def tell(found: list[Wire], frame: bytes) -> list[bool]:
    return crowds.tell([cast("Line", wire) for wire in found], frame)


@pytest.mark.parametrize("count", [1, crowds.MANY, crowds.MANY + 1])
async def test_each_gets_the_frame_once(count: int) -> None:
    async with wires(count) as found:
        assert tell(found, FRAME) == [True] * count
        assert {await wire.got(len(FRAME)) for wire in found} == {FRAME}
        assert not any(wire.got_more() for wire in found)


async def test_a_frame_that_does_not_fit_is_gone_on_with(many: Callable[[int], None]) -> None:
    many(2)
    async with wires(4) as found:
        assert tell(found, LONG) == [True] * 4
        for wire in found:
            assert await wire.got(len(LONG)) == LONG
        assert not any(wire.got_more() for wire in found)


async def test_nothing_gets_ahead_of_what_was_said_before(many: Callable[[int], None]) -> None:
    many(2)
    async with wires(4) as found:
        behind, *others = found
        behind.say(b"before, ")
        assert tell(found, FRAME) == [True] * 4
        assert await behind.got(len(FRAME) + 8) == b"before, " + FRAME
        assert {await wire.got(len(FRAME)) for wire in others} == {FRAME}


async def test_who_has_yet_to_read_and_who_is_gone_are_not_told(many: Callable[[int], None]) -> None:
    many(2)
    async with wires(4) as found:
        slow, gone, *others = found
        slow.say(LONG)
        gone.transport.close()
        assert tell(found, FRAME) == [False, False, True, True]
        assert {await wire.got(len(FRAME)) for wire in others} == {FRAME}
        assert await slow.got(len(LONG)) == LONG
        assert not slow.got_more()


async def test_a_peer_that_hung_up_disturbs_nobody(many: Callable[[int], None]) -> None:
    many(2)
    async with wires(4) as found:
        gone, *others = found
        gone.peer.close()
        tell(found, FRAME)
        assert {await wire.got(len(FRAME)) for wire in others} == {FRAME}


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how many are told together, by two threads one by one."""
    monkeypatch.setattr(crowds, "PART", 1)
    return lambda count: monkeypatch.setattr(crowds, "MANY", count)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has threads stay nowhere")
async def test_no_thread_is_bound_to_a_cpu_by_it(many: Callable[[int], None]) -> None:
    many(2)
    before = os.sched_getaffinity(0)
    async with wires(4) as found:
        assert tell(found, FRAME) == [True] * 4
    assert os.sched_getaffinity(0) == before


async def test_where_threads_must_not_be_bound_all_are_told(
    many: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    many(2)
    monkeypatch.setattr(os, "sched_setaffinity", refused, raising=False)
    async with wires(4) as found:
        assert tell(found, FRAME) == [True] * 4
        assert {await wire.got(len(FRAME)) for wire in found} == {FRAME}
