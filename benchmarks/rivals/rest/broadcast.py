"""Redis pub/sub for WebSockets: one connection, a queue for each listener."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis


class Broadcast:
    """Hands each message of a channel to all who listen to it."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        self._listeners: dict[str, set[asyncio.Queue[str]]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        # By itself it would make a connection for each of those who come first, and listen to one.
        await self._pubsub.connect()
        self._task = asyncio.create_task(self._read())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await self._pubsub.aclose()
        await self._redis.aclose()

    async def publish(self, channel: str, message: str) -> None:
        await self._redis.publish(channel, message)

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator["asyncio.Queue[str]"]:
        """The messages of a channel from now on."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        listeners = self._listeners[channel]
        listeners.add(queue)
        if len(listeners) == 1:
            await self._pubsub.subscribe(channel)
        try:
            yield queue
        finally:
            listeners.discard(queue)
            if not listeners:
                self._listeners.pop(channel, None)
                await self._pubsub.unsubscribe(channel)

    async def _read(self) -> None:
        while True:
            message = await self._pubsub.get_message(timeout=None)
            if message is not None:
                self._hand_out(message["channel"].decode(), message["data"].decode())

    def _hand_out(self, channel: str, text: str) -> None:
        for queue in self._listeners.get(channel, ()):
            queue.put_nowait(text)
