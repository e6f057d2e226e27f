"""Ends the streams of a replica that is told to go: they would hold it up until its time is out."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

STREAMS = (b"text/event-stream", b"multipart/mixed")


class Drain:
    """An ASGI application, and its open streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._streams: set[asyncio.Task[Any]] = set()
        self._draining = False

    def start(self) -> None:
        """Break the streams off without a `complete`, so that their clients come back, to another replica."""
        self._draining = True
        for task in self._streams:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        task = asyncio.current_task()
        assert task is not None

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_stream(message):
                self._streams.add(task)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            if not self._draining or task not in self._streams:
                raise
            task.uncancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._streams.discard(task)


def _is_stream(start: Message) -> bool:
    types = (value for name, value in start["headers"] if name.lower() == b"content-type")
    return any(value.startswith(STREAMS) for value in types)
