"""One frame to many lines at once: nearly all of what that takes are the calls to the kernel."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Final

from app.lines import Line

# A descriptor that takes nothing.
NO_FILE: Final = -1
# Fewer are told before another thread has begun.
MANY: Final = 200
# It waits for the kernel, not for Python: on another core half of the calls can be made meanwhile.
_HELPER = ThreadPoolExecutor(1, "crowd") if (os.cpu_count() or 1) > 1 else None


def tell(lines: Sequence[Line], frame: bytes) -> list[bool]:
    """Offer a frame to each of several lines: whether it was sent, as `Line.offer` says."""
    if _HELPER is None or len(lines) < MANY:
        return [line.offer(frame) for line in lines]
    files, half = [NO_FILE if (file := line.bare_file) is None else file for line in lines], len(lines) // 2
    theirs = _HELPER.submit(_write, frame, files[:half])
    ours = _write(frame, files[half:])
    written, size = theirs.result() + ours, len(frame)
    return [count == size or _go_on(line, frame, count) for line, count in zip(lines, written, strict=True)]


def _write(frame: bytes, files: Sequence[int]) -> list[int]:
    """How much of a frame each of several files has taken."""
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
