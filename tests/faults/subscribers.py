"""Subscribers in the manner of graphql-ws: whoever loses the connection comes back with the last cursor."""

import asyncio
import base64
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import websockets
from websockets.asyncio.client import ClientConnection

from tests.client import Api

FIELDS = "{ cursor type status version timestamp execution { id } }"
FEED = f"subscription ($after: String) {{ event: executionFeed(after: $after) {FIELDS} }}"
EVENTS = (
    f"subscription ($id: ID!, $after: String)"
    f" {{ event: executionEvents(executionId: $id, after: $after) {FIELDS} }}"
)
PAUSE_SECONDS = 0.1
OPEN_SECONDS = 5.0
LOST_CONNECTION = (OSError, TimeoutError, websockets.WebSocketException)


@dataclass(frozen=True, slots=True)
class Event:
    """What is compared: an event as the log has it."""

    position: int
    execution_id: str
    version: int
    type: str
    status: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """An event as it came: when it happened and when it arrived, in seconds of the epoch."""

    event: Event
    happened: float
    arrived: float


class Subscriber:
    """Watches a feed, or one execution, until cancelled or complete; `restless` ones keep reconnecting."""

    def __init__(
        self,
        token: str,
        apis: Sequence[Api],
        execution_id: str | None = None,
        restless_seconds: float | None = None,
    ) -> None:
        self.execution_id = execution_id
        self.receipts: list[Receipt] = []
        self.connections: list[float] = []
        self.closes: list[tuple[float, int | None]] = []
        self.errors: Counter[str] = Counter()
        self.api = apis[0]
        self._apis = apis
        self._token = token
        self._restless_seconds = restless_seconds
        # The feed's beginning: a cursor of position 0.
        self._cursor = base64.urlsafe_b64encode(b"f1:0").decode().rstrip("=")
        self._completed = False

    @property
    def position(self) -> int:
        """The feed position that it has reached."""
        return self.receipts[-1].event.position if self.receipts else 0

    async def run(self) -> None:
        """Watch, and come back for as long as there is something to watch."""
        tries = 0
        while not self._completed:
            self.api = self._apis[tries % len(self._apis)]
            try:
                await self._watch()
            except LOST_CONNECTION:
                tries += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _watch(self) -> None:
        async with self._acknowledged() as connection:
            variables = {"after": self._cursor, **({"id": self.execution_id} if self.execution_id else {})}
            payload = {"query": EVENTS if self.execution_id else FEED, "variables": variables}
            await _send(connection, id="1", type="subscribe", payload=payload)
            try:
                await self._receive(connection)
            except TimeoutError:
                if random.random() < 0.5:  # an abrupt end every other time
                    connection.transport.abort()
            except websockets.ConnectionClosed:
                self.closes.append((time.time(), connection.close_code))
                raise

    @asynccontextmanager
    async def _acknowledged(self) -> AsyncIterator[ClientConnection]:
        protocol = websockets.Subprotocol("graphql-transport-ws")
        async with websockets.connect(
            self.api.ws_url,
            subprotocols=[protocol],
            compression=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=0.5,
        ) as connection:
            await _send(
                connection, type="connection_init", payload={"Authorization": f"Bearer {self._token}"}
            )
            async with asyncio.timeout(OPEN_SECONDS):
                assert orjson.loads(await connection.recv())["type"] == "connection_ack"
            self.connections.append(time.time())
            yield connection

    async def _receive(self, connection: ClientConnection) -> None:
        rest = self._restless_seconds
        async with asyncio.timeout(rest and rest * random.uniform(0.5, 1.5)):
            async for frame in connection:
                if not self._take(orjson.loads(frame)):
                    return
        self.closes.append((time.time(), connection.close_code))

    def _take(self, message: dict[str, Any]) -> bool:
        match message:
            case {"type": "next", "payload": {"data": {"event": event}}}:
                self._note(event)
            case {"type": "next", "payload": {"errors": errors}} | {"type": "error", "payload": errors}:
                self.errors.update(error["extensions"]["code"] for error in errors)
                return False
            case {"type": "complete"}:
                # After an error there is more to come.
                self._completed = self.execution_id is not None and bool(self.receipts)
                return False
        return True

    def _note(self, fields: dict[str, Any]) -> None:
        self._cursor = fields["cursor"]
        event = Event(
            position(self._cursor),
            fields["execution"]["id"],
            fields["version"],
            fields["type"],
            fields["status"],
        )
        self.receipts.append(
            Receipt(event, datetime.fromisoformat(fields["timestamp"]).timestamp(), time.time())
        )


def position(cursor: str) -> int:
    """The feed position in a cursor."""
    version, number = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(":")
    assert version == "f1"
    return int(number)


async def _send(connection: ClientConnection, **message: Any) -> None:
    await connection.send(orjson.dumps(message).decode())
