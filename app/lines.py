"""A WebSocket as the application has it: a line on which it is called, and writes without waiting."""

import asyncio
from typing import Any, Protocol

EXTENSION = "line"

TEXT = 0x81
SHORT, TWO_BYTES, EIGHT_BYTES = 126, 126, 127
MEDIUM = 65_536


class Gate(Protocol):
    """Open or shut; who finds it shut can wait."""

    def is_set(self) -> bool:
        """Whether it is open."""
        ...

    async def wait(self) -> object:
        """Return once it is open."""
        ...


class Listener(Protocol):
    """Who is called about a line."""

    def heard(self, text: str | None) -> None:
        """The peer has sent a message: its text, None where it is none."""
        ...

    def lost(self) -> None:
        """The line is closed, by whichever side; said once."""
        ...


class Line(Protocol):
    """An open WebSocket. It is `writable` while the peer reads what it is sent, and once it is lost."""

    writable: Gate

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        ...

    @property
    def bare_file(self) -> int | None:
        """The descriptor to which a frame can be written as it is; None where it must be offered.

        That is so while something is left to be sent, on a line that is closed, and where it is encrypted.
        """
        ...

    def listen(self, listener: Listener) -> None:
        """Call a listener from now on, in the present context; the application may return."""
        ...

    def offer(self, frame: bytes) -> bool:
        """Send a frame unless the peer has yet to read others, or the line is closed: whether it was sent."""
        ...

    def say(self, frame: bytes) -> None:
        """Send a frame, unless the line is closed."""
        ...

    def hold(self) -> None:
        """Hear nothing until `release`: the peer is kept waiting."""
        ...

    def release(self) -> None:
        """Hear again, first what was sent since."""
        ...

    def attend(self, task: "asyncio.Task[Any]") -> None:
        """Have the server wait for a task when it ends."""
        ...

    def hang_up(self, code: int, reason: str) -> None:
        """Close with a code and a reason, of which as much is sent as fits."""
        ...


def frame(text: bytes) -> bytes:
    """A WebSocket frame with a whole text (RFC 6455), as a server sends it."""
    size = len(text)
    if size < SHORT:
        return b"%c%c%b" % (TEXT, size, text)
    if size < MEDIUM:
        return b"%c%c%b%b" % (TEXT, TWO_BYTES, size.to_bytes(2, "big"), text)
    return b"%c%c%b%b" % (TEXT, EIGHT_BYTES, size.to_bytes(8, "big"), text)
