"""One frame to many lines at once: nearly all of what that takes are the calls to the kernel."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Final

from app.lines import Line

# A descriptor that takes nothing.
NO_FILE: Final = -1
# Fewer are told before another thread has begun.
MANY: Final = 200
PART: Final = 100
# It waits for the kernel, not for Python: on another core half of the calls can be made meanwhile.
_HELPER = ThreadPoolExecutor(1, "crowd") if (os.cpu_count() or 1) > 1 else None
# Where Linux tells a thread of itself, and the place of its CPU in what follows its name.
_SELF: Final = Path("/proc/thread-self/stat")
_CPU: Final = 36


def tell(lines: Sequence[Line], frame: bytes) -> list[bool]:
    """Offer a frame to each of several lines: whether it was sent, as `Line.offer` says."""
    if _HELPER is None or len(lines) < MANY:
        return [line.offer(frame) for line in lines]
    parts = [lines[place : place + PART] for place in range(0, len(lines), PART)]
    left, written = list(enumerate(parts)), [list[int]()] * len(parts)

    def write() -> None:
        with suppress(IndexError):
            while True:
                place, part = left.pop()
                written[place] = _write(frame, part)

    with _apart() as go_elsewhere:
        _HELPER.submit(go_elsewhere)
        theirs = _HELPER.submit(write)
        write()
    theirs.result()
    counts, size = chain.from_iterable(written), len(frame)
    return [count == size or _go_on(line, frame, count) for line, count in zip(lines, counts, strict=True)]


@contextmanager
def _apart() -> Iterator[Callable[[], None]]:
    """Keep this thread on its CPU; what this gives sends whatever thread calls it to any other one.

    Two threads that take turns with Python's lock wake each other, so Linux would have them share a CPU.
    """
    try:
        cpus, here = os.sched_getaffinity(0), {int(_SELF.read_text().rpartition(")")[2].split()[_CPU])}
        os.sched_setaffinity(0, here)
    except (AttributeError, OSError):
        # Another system, or not allowed: it goes on as the system likes.
        yield lambda: None
        return

    def go_elsewhere() -> None:
        with suppress(OSError):
            os.sched_setaffinity(0, cpus - here)

    try:
        yield go_elsewhere
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, cpus)


def _write(frame: bytes, lines: Sequence[Line]) -> list[int]:
    """How much of a frame each of several lines has taken."""
    files = [NO_FILE if (file := line.bare_file) is None else file for line in lines]
    left, written = iter(files), list[int]()
    while len(written) < len(files):
        try:
            # Hardly any Python in between: who finds its lock taken sleeps through hundreds of calls.
            written.extend(map(os.write, left, repeat(frame)))
        except OSError:
            # Its peer has yet to read, or is gone: the line finds out which.
            written.append(0)
    return written


def _go_on(line: Line, frame: bytes, written: int) -> bool:
    """Send what has not been written of a frame."""
    if not written:
        return line.offer(frame)
    line.say(frame[written:])
    return True
