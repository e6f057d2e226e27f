"""One frame to many lines at once: nearly all of what that takes are the calls to the kernel."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from app.lines import Line

# Fewer are told before another thread has begun.
MANY: Final = 200
PORTION: Final = 100
# It waits for the kernel, not for Python: on another core half of the calls can be made meanwhile.
_HELPER = ThreadPoolExecutor(1, "crowd") if (os.cpu_count() or 1) > 1 else None


def tell(lines: Sequence[Line], frame: bytes) -> list[bool]:
    """Offer a frame to each of several lines: whether it was sent, as `Line.offer` says."""
    if _HELPER is None or len(lines) < MANY:
        return [line.offer(frame) for line in lines]
    portions, written = iter(range(0, len(lines), PORTION)), [0] * len(lines)
    theirs = _HELPER.submit(_write, frame, lines, portions, written)
    _write(frame, lines, portions, written)
    theirs.result()
    size = len(frame)
    return [count == size or _go_on(line, frame, count) for line, count in zip(lines, written, strict=True)]


def _write(frame: bytes, lines: Sequence[Line], portions: Iterator[int], written: list[int]) -> None:
    """Write the portions that nobody else has taken, and say how much each line has taken."""
    for start in portions:
        # Not before each call: whoever has Python's lock then holds up the other thread.
        files = [line.bare_file for line in lines[start : start + PORTION]]
        written[start : start + PORTION] = [0 if file is None else _written(frame, file) for file in files]


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
