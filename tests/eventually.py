"""Waiting for what becomes true by itself, in place of sleeping for a guessed time."""

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

PAUSE_SECONDS = 0.02


async def eventually(check: Callable[[], Any], timeout_seconds: float = 10.0) -> Any:
    """Repeat `check`, sync or async, until it answers something true without AssertionError; returns that.

    Raises AssertionError, that of the last try if it had one, after `timeout_seconds`.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while True:
        try:
            return await _answer(check)
        except AssertionError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(PAUSE_SECONDS)


async def _answer(check: Callable[[], Any]) -> Any:
    answer = check()
    if isawaitable(answer):
        answer = await answer
    assert answer, f"still {answer!r}"
    return answer
