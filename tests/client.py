"""A replica on a port, and users who talk to it as any client would: over HTTP and WebSocket."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import httpx
import uvicorn
import websockets
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection

from app import auth, main
from app.server import configuration
from app.settings import Settings

SECRET = "a-secret-of-the-tests-with-32-bytes-at-least"
RESPONSE_TYPE = "application/graphql-response+json"


@dataclass(frozen=True)
class Api:
    """Where one replica listens."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/graphql"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/graphql"

    def client(self, user: str, *scopes: str) -> "Client":
        """A user with a token, of the user scopes unless others are given."""
        return self.bearing(auth.mint(SECRET, user, scopes or auth.USER_SCOPES))

    def bearing(self, token: str) -> "Client":
        """Whoever holds that token, good or bad."""
        return Client(self, token)


class Client:
    """One user. Use it as an async context manager."""

    def __init__(self, api: Api, token: str) -> None:
        self.api = api
        self.token = token
        # There is no TLS here; loading the certificates for it would take longer than most tests do.
        self.http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}", "Accept": RESPONSE_TYPE}, timeout=30, verify=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def post(self, query: str, variables: dict[str, Any] | None = None) -> httpx.Response:
        """The raw response to one operation."""
        return await self.http.post(self.api.url, json={"query": query, "variables": variables or {}})

    async def answer(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """The whole response body, errors and all."""
        body: dict[str, Any] = (await self.post(query, variables)).json()
        return body

    async def data(self, query: str, /, **variables: Any) -> Any:
        """The response's data; fails the test where there are errors."""
        body = await self.answer(query, **variables)
        assert "errors" not in body, body
        return body["data"]

    async def error(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """The response's one error; fails the test where there is not exactly one."""
        body = await self.answer(query, **variables)
        assert len(body.get("errors", [])) == 1, body
        found: dict[str, Any] = body["errors"][0]
        return found

    async def refusal(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """The one error with which a subscription ends before it has delivered anything."""
        async with self.socket() as socket:
            await socket.subscribe("1", query, variables)
            message = await socket.receive()
            if message["type"] == "next":
                assert message["payload"]["data"] is None, message
                assert await socket.receive() == {"id": "1", "type": "complete"}
                errors = message["payload"]["errors"]
            else:
                assert message["type"] == "error", message
                errors = message["payload"]
        assert len(errors) == 1, errors
        found: dict[str, Any] = errors[0]
        return found

    @asynccontextmanager
    async def socket(self) -> AsyncIterator["Socket"]:
        """An acknowledged graphql-transport-ws connection."""
        async with connected(self.api) as connection:
            socket = Socket(connection)
            await socket.send(type="connection_init", payload={"Authorization": f"Bearer {self.token}"})
            assert (await socket.receive())["type"] == "connection_ack"
            yield socket

    async def watch(self, query: str, /, **variables: Any) -> AsyncGenerator[Any, None]:
        """The data of each result of a subscription, to its completion."""
        async with self.socket() as socket:
            await socket.subscribe("1", query, variables)
            while (message := await socket.receive())["type"] != "complete":
                assert message["type"] == "next", message
                assert "errors" not in message["payload"], message
                yield message["payload"]["data"]


@dataclass(frozen=True)
class Socket:
    """The frames of one WebSocket."""

    connection: ClientConnection

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def subscribe(self, id: str, query: str, variables: dict[str, Any] | None = None) -> None:
        await self.send(id=id, type="subscribe", payload={"query": query, "variables": variables or {}})

    async def next(self, id: str = "1") -> Any:
        """The data of the next result, which must be that operation's and free of errors."""
        message = await self.receive()
        assert (message["type"], message["id"]) == ("next", id), message
        assert "errors" not in message["payload"], message
        return message["payload"]["data"]

    async def closed(self, timeout_seconds: float = 20.0) -> tuple[int | None, str | None]:
        """The code and the reason with which the server closes; what it sends before is skipped."""
        async with asyncio.timeout(timeout_seconds):
            with suppress(websockets.ConnectionClosed):
                while True:
                    await self.connection.recv()
        return self.connection.close_code, self.connection.close_reason

    async def receive(self, timeout_seconds: float = 20.0) -> Any:
        """The next frame, decoded; pings of the server are answered and skipped."""
        while True:
            async with asyncio.timeout(timeout_seconds):
                message = json.loads(await self.connection.recv())
            if message["type"] != "ping":
                return message
            await self.send(type="pong")


@asynccontextmanager
async def connected(api: Api, query: str = "") -> AsyncIterator[ClientConnection]:
    """A WebSocket that has sent nothing yet."""
    async with websockets.connect(
        api.ws_url + query, subprotocols=[websockets.Subprotocol("graphql-transport-ws")], max_size=None
    ) as connection:
        yield connection


class Server(uvicorn.Server):
    """Uvicorn, stopping at once where nobody is connected: by itself it takes 0.2 s, with every test."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told_to_stop = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.told_to_stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        # Those who have hung up are gone when the loop has come round.
        for _ in range(5):
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        else:
            await self.lifespan.shutdown()


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Api]:
    """A replica in this process, on a free port, behind a real uvicorn."""
    async with served(main.create_app(settings), settings) as api:
        yield api


@asynccontextmanager
async def served(app: ASGIApp, settings: Settings) -> AsyncIterator[Api]:
    """Any application, as a replica is."""
    here = settings.model_copy(update={"port": 0, "shutdown_timeout_seconds": 1.0})
    server = Server(configuration(app, here))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        if task.done():
            await task
    try:
        yield Api(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.told_to_stop.set()
        await task


@asynccontextmanager
async def tracking(settings: Settings) -> AsyncIterator[None]:
    """A tracker in this process."""
    task = asyncio.create_task(main.track(settings))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
