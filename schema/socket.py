"""GraphQL over WebSocket: the graphql-transport-ws protocol of the library graphql-ws."""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from graphql import GraphQLError
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
    Operation,
)
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
    SubscribeMessage,
)

from app import logs
from app.auth import Caller, bearer
from app.errors import Unauthenticated, Unavailable
from schema import Schema
from schema.errors import present
from schema.named import Asked, misshapen
from schema.occupancy import Full, Sockets
from schema.requests import too_deep
from schema.session import Session
from schema.streams import EXPIRED

NORMAL_CLOSURE = 1000
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013
INVALID_MESSAGE = 4400
FORBIDDEN = 4403
INITIALISATION_TIMEOUT = 4408
TOO_MANY_INITIALISATIONS = 4429


@dataclass(frozen=True)
class Bounds:
    """How long a socket lives: without operations, and at all."""

    idle_seconds: float
    lifetime_seconds: float


class SocketHandler(BaseGraphQLTransportWSHandler[Session, None]):
    """Authenticates in connection_init, ends with the token, keeps one operation's mistakes from the rest.

    The codes with which it closes say to clients of the library graphql-ws whether to come back: they do
    after 1012, 1013, 4403 and 4408, after 1000 once they have an operation, and after the others never.
    """

    def __init__(self, sockets: "Sockets[SocketHandler]", bounds: Bounds, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._sockets = sockets
        self._bounds = bounds
        self._life: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def handle(self) -> None:
        try:
            oldest = self._sockets.enter(self)
        except Full:
            await self.websocket.close(TRY_AGAIN_LATER, "There are too many sockets")
            return
        if oldest is not None:
            oldest.leave(INITIALISATION_TIMEOUT, "Connection initialisation timeout")
        try:
            await super().handle()
        finally:
            self._sockets.leave(self)

    def leave(self, code: int, reason: str) -> None:
        """Close, in a task of its own."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self.websocket.close(code, reason))

    async def handle_message(self, message: Message) -> None:
        if problem := _problem(message):
            await self.handle_invalid_message(problem)
        else:
            await super().handle_message(message)

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        if self.connection_timed_out:
            return
        if self.connection_init_received:
            await self.websocket.close(TOO_MANY_INITIALISATIONS, "Too many initialisation requests")
            return
        self.connection_init_received = True
        if self.connection_init_timeout_task:
            self.connection_init_timeout_task.cancel()
        try:
            await self._accept(await self._authenticate(message.get("payload") or {}))
        except Unauthenticated as error:
            await self.websocket.close(FORBIDDEN, error.message)
        except Unavailable as error:
            await self.websocket.close(TRY_AGAIN_LATER, error.message)
        except Full:
            await self.websocket.close(TRY_AGAIN_LATER, "You have too many sockets: close one")

    async def _accept(self, caller: Caller) -> None:
        self._sockets.admit(self, caller.subject)
        self.context.caller = caller
        self._live_until(caller.expires_at)
        self._rest_from_now()
        await self.send_message({"type": "connection_ack"})
        self.connection_acknowledged = True

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Start an operation, unless it is one too many or too deeply nested: its error, not the socket's."""
        problem = self._operation_problem(message)
        if problem and self.connection_acknowledged and message["id"] not in self.operations:
            await self._refuse(message["id"], problem)
        else:
            message["payload"]["query"] = Asked.of(message["payload"])
            await super().handle_subscribe(message)

    def _operation_problem(self, message: SubscribeMessage) -> str | None:
        if problem := too_deep(message["payload"], cast("Schema", self.schema).limits.json_depth):
            return problem
        if len(self.operations) >= (self.max_subscriptions_per_connection or 0):
            return "Too many operations run on this socket: complete one."
        return None

    async def run_operation(self, operation: Operation[Session, None]) -> None:
        # A client's ids are unique only within its socket; the request's id is beside it in each line.
        logs.operation_id.set(logs.identifier(operation.id) or uuid.uuid4().hex)
        self._stop_resting()
        try:
            await super().run_operation(operation)
        finally:
            if not self.operations and self.connection_acknowledged:
                self._rest_from_now()

    async def shutdown(self) -> None:
        self._stop_resting()
        if self._life is not None:
            self._life.cancel()
        self.connection_acknowledged = False
        await super().shutdown()

    def _live_until(self, expiry: datetime) -> None:
        left = (expiry - datetime.now(UTC)).total_seconds()
        if left < self._bounds.lifetime_seconds:
            self._life = self._leave_after(left, FORBIDDEN, EXPIRED)
        else:
            self._life = self._leave_after(
                self._bounds.lifetime_seconds, SERVICE_RESTART, "The socket is old: open another"
            )

    def _rest_from_now(self) -> None:
        self._stop_resting()
        self._rest = self._leave_after(self._bounds.idle_seconds, NORMAL_CLOSURE, "The socket is not used")

    def _stop_resting(self) -> None:
        if self._rest is not None:
            self._rest.cancel()

    def _leave_after(self, seconds: float, code: int, reason: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self.leave, code, reason)

    async def handle_task_exception(self, error: Exception) -> None:
        """Log what an operation died of, unless its client has just gone."""
        if not isinstance(error, WebSocketDisconnected):
            await super().handle_task_exception(error)

    async def _authenticate(self, params: dict[str, Any]) -> Caller:
        """The caller named by the init payload, whatever its letter case, or by `?token=` as of old."""
        header = next((value for key, value in params.items() if key.lower() == "authorization"), None)
        if header is None and self.context.query_token is not None:
            header = f"Bearer {self.context.query_token}"
        if not isinstance(header, str):
            raise Unauthenticated("Send {'Authorization': 'Bearer <token>'} as the connection_init payload.")
        return await self.context.verifier.caller(bearer(header))

    async def _refuse(self, id: str, message: str) -> None:
        error = present(GraphQLError(message))
        await self.send_message({"id": id, "type": "error", "payload": [error.formatted]})

    @staticmethod
    def _get_pre_execution_close_reason(error: Any) -> str | None:
        """None: a mistake in one operation is that operation's `error`, no reason to close the socket."""
        return None


def _problem(message: Any) -> str | None:
    """What makes a frame no message of the protocol, before strawberry takes it apart."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "A message must be an object with a `type`"
    match message:
        case {"type": "connection_init", "payload": payload} if not isinstance(payload, dict | None):
            return "The connection_init payload must be an object"
        case {"type": "subscribe" | "complete", **rest} if not isinstance(rest.get("id"), str):
            return "A message about an operation must have an `id`"
        case {"type": "subscribe", **rest}:
            return _request_problem(rest.get("payload"))
    return None


def _request_problem(payload: Any) -> str | None:
    if problem := misshapen(payload):
        return problem
    if payload.get("query") is None and not Asked.of(payload).names_document:
        return "A subscribe payload must have a `query`"
    return None
