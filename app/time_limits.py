"""Time limits of what is done thousands of times a second, and hardly ever takes that long."""

import asyncio
from types import TracebackType
from typing import Self


class TimeLimit:
    """How long things of one kind may take. Where it is `applied`, it does what `asyncio.timeout` does.

    That makes a timer for each; here one serves all, in one event loop, for a fifth of the CPU.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # In the order in which they are due: all have the same time.
        self.due: dict[Applied, float] = {}
        self.is_watched = False

    def applied(self) -> "Applied":
        return Applied(self)

    def watch(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        """Look at an instant for what is due."""
        self.is_watched = True
        loop.call_at(until, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what is due. Most of what there was when the timer was set has ended by itself."""
        self.is_watched = False
        for applied, due in list(self.due.items()):
            if due > loop.time():
                self.watch(loop, due)
                return
            del self.due[applied]
            applied.expire()


class Applied:
    """A time limit of what a task does in a `with` block: TimeoutError where that takes longer."""

    __slots__ = ("_cancelling", "_limit", "_task", "expired")

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit
        self.expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        loop, limit = task.get_loop(), self._limit
        due = limit.due[self] = loop.time() + limit.seconds
        if not limit.is_watched:
            limit.watch(loop, due)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._limit.due.pop(self, None)
        if self.expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        self.expired = True
        self._task.cancel()
