"""GraphQL over WebSocket: the graphql-transport-ws protocol of the library graphql-ws."""

import asyncio
import uuid
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
from schema.requests import too_deep
from schema.session import Session

TRY_AGAIN_LATER = 1013
FORBIDDEN = 4403
INVALID_MESSAGE = 4400
TOO_MANY_INITIALISATIONS = 4429


class SocketHandler(BaseGraphQLTransportWSHandler[Session, None]):
    """Authenticates in connection_init, ends with the token, keeps one operation's mistakes from the rest."""

    _expiry: asyncio.Task[None] | None = None

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

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Start an operation, unless what it carries is nested too deeply: its error, not the socket's."""
        levels = cast("Schema", self.schema).limits.json_depth
        known = message["id"] in self.operations
        if self.connection_acknowledged and not known and too_deep(message["payload"], levels):
            error = present(GraphQLError(f"A value is nested deeper than {levels} levels."))
            await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})
        else:
            message["payload"]["query"] = Asked.of(message["payload"])
            await super().handle_subscribe(message)

    async def _accept(self, caller: Caller) -> None:
        self.context.caller = caller
        self._expiry = asyncio.create_task(self._close_at(caller.expires_at))
        await self.send_message({"type": "connection_ack"})
        self.connection_acknowledged = True

    async def run_operation(self, operation: Operation[Session, None]) -> None:
        # A client's ids are unique only within its socket; the request's id is beside it in each line.
        logs.operation_id.set(logs.identifier(operation.id) or uuid.uuid4().hex)
        await super().run_operation(operation)

    async def shutdown(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        await super().shutdown()

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

    async def _close_at(self, moment: datetime) -> None:
        await asyncio.sleep((moment - datetime.now(UTC)).total_seconds())
        await self.websocket.close(FORBIDDEN, "The token has expired: get a new one.")

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
