"""One frame to many lines at once: nearly all of what that takes are the calls to the kernel."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from app.lines import Line

# Fewer are told before another thread has begun.
MANY: Final = 200
# It waits for the kernel, not for Python: on another core half of the calls can be made meanwhile.
_HELPER = ThreadPoolExecutor(1, "crowd") if (os.cpu_count() or 1) > 1 else None


def tell(lines: Sequence[Line], frame: bytes) -> list[bool]:
    """Offer a frame to each of several lines: whether it was sent, as `Line.offer` says."""
    if _HELPER is None or len(lines) < MANY:
        return [line.offer(frame) for line in lines]
    files, half = [line.bare_file for line in lines], len(lines) // 2
    theirs = _HELPER.submit(_write, frame, files[:half])
    ours = _write(frame, files[half:])
    written, size = theirs.result() + ours, len(frame)
    return [count == size or _go_on(line, frame, count) for line, count in zip(lines, written, strict=True)]


def _write(frame: bytes, files: Sequence[int | None]) -> list[int]:
    """How much of a frame each of several files has taken."""
    return [0 if file is None else _written(frame, file) for file in files]


def _written(frame: bytes, file: int) -> int:
    try:
        return os.write(file, frame)
    except OSError:
        # Its peer has yet to read, or is gone: the line finds out which.
        return 0


def _go_on(line: Line, frame: bytes, written: int) -> bool:
    """Send what has not been written of a frame."""
    if not written:
        return line.offer(frame)
    line.say(frame[written:])
    return True
