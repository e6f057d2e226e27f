"""What no live server here can beat: Redis' messages as WebSocket frames, with no library between them.

It asks for no token: who asks for /NAME gets what is published to the channel PREFIX:feed:NAME.
"""

import asyncio
import base64
import hashlib
import os
from collections import defaultdict
from typing import cast
from urllib.parse import unquote

import uvloop

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HEALTHY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
SHORT, LONG = 126, 65_536


def frame(payload: bytes) -> bytes:
    """A text frame."""
    size = len(payload)
    if size < SHORT:
        return b"\x81" + size.to_bytes(1, "big") + payload
    assert size < LONG
    return b"\x81\x7e" + size.to_bytes(2, "big") + payload


class Channels(asyncio.Protocol):
    """The connection to Redis: messages go out as they come in."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._listeners: dict[bytes, set[asyncio.Transport]] = defaultdict(set)
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._redis = cast("asyncio.Transport", transport)

    def join(self, name: str, listener: asyncio.Transport) -> bytes:
        """Have a channel's messages sent there; returns what `leave` wants."""
        channel = f"{self._prefix}:feed:{name}".encode()
        if not self._listeners[channel]:
            self._redis.write(b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%b\r\n" % (len(channel), channel))
        self._listeners[channel].add(listener)
        return channel

    def leave(self, channel: bytes, listener: asyncio.Transport) -> None:
        self._listeners[channel].discard(listener)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (message := self._next()) is not None:
            channel, payload = message
            framed = frame(payload) if payload else b""
            for listener in self._listeners.get(channel, ()):
                listener.write(framed)

    def _next(self) -> tuple[bytes, bytes] | None:
        """The next message, empty for what confirms a subscription; None where it is not whole yet."""
        lines = self._buffer.split(b"\r\n", 6)
        # *3, $9, subscribe, $N, channel, :1, rest; or *3, $7, message, $N, channel, $N, rest.
        if len(lines) < 7:  # noqa: PLR2004 - see above
            return None
        *_, channel, last, rest = lines
        if last[:1] == b":":
            self._buffer = rest
            return channel, b""
        size = int(last[1:])
        if len(rest) < size + 2:
            return None
        self._buffer = rest[size + 2 :]
        return channel, rest[:size]


class Client(asyncio.Protocol):
    """One WebSocket."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._channel: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._channel is not None:
            self._channels.leave(self._channel, self._transport)

    def data_received(self, data: bytes) -> None:
        if self._channel is not None:
            return
        head = data.decode()
        path = head.split(" ", 2)[1][1:]
        if path == "health":
            self._transport.write(HEALTHY)
            return
        key = next(line[19:] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        accepted = base64.b64encode(hashlib.sha1(key.encode() + MAGIC, usedforsecurity=False).digest())
        self._transport.write(SWITCH + b"sec-websocket-accept: " + accepted + b"\r\n\r\n")
        self._channel = self._channels.join(unquote(path), self._transport)


async def main() -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    channels = Channels(os.environ["REDIS_PREFIX"])
    host, _, port = os.environ["REDIS_URL"].rpartition("/")[2].partition(":")
    await loop.create_connection(lambda: channels, host, int(port))
    server = await loop.create_server(
        lambda: Client(channels), "127.0.0.1", int(os.environ["PORT"]), backlog=2048
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
