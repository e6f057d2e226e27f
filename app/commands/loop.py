"""The loop that a command runs in."""

import asyncio
import gc
import signal
from collections.abc import Coroutine
from typing import Any

import uvloop


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to its end what begins when everything is loaded."""
    gc.enable()
    uvloop.run(work)


async def until_terminated(work: Coroutine[Any, Any, None]) -> None:
    """Run until SIGTERM or SIGINT, which cancel the work in good order."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
