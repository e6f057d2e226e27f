"""GraphQL over WebSocket: the graphql-transport-ws protocol of the library graphql-ws."""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import orjson
from graphql import ExecutionResult, GraphQLError
from graphql.execution import create_source_event_stream
from strawberry.types import ExecutionResult as StrawberryResult
from strawberry.types.execution import PreExecutionError

from app import logs
from app.auth import Caller, bearer
from app.errors import Unauthenticated, Unavailable
from app.hub import Cursor
from app.lines import EXTENSION, Line, frame
from resolvers.context import context
from schema import Schema
from schema.errors import Presenter, described, present
from schema.executor import OperationExecutor
from schema.named import Asked, misshapen
from schema.occupancy import Full, Sockets
from schema.operation import Operation
from schema.requests import decoded, too_deep
from schema.session import Session
from schema.shared import Group, Groups, Live, Outcome, failed, next_frame
from schema.streams import EXPIRED

log = logging.getLogger(__name__)

NORMAL_CLOSURE = 1000
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013
INVALID_MESSAGE = 4400
UNAUTHORIZED = 4401
FORBIDDEN = 4403
INITIALISATION_TIMEOUT = 4408
ID_TAKEN = 4409
TOO_MANY_INITIALISATIONS = 4429

LATE = "Connection initialisation timeout"
ACKNOWLEDGED = frame(b'{"type":"connection_ack"}')
PONG = frame(b'{"type":"pong"}')


@dataclass(frozen=True)
class Bounds:
    """How long a socket lives: without init, without operations, and at all; how many operations it has."""

    init_seconds: float
    idle_seconds: float
    lifetime_seconds: float
    operations: int


@dataclass(frozen=True)
class Endpoint:
    """What the sockets of one process share."""

    schema: Schema
    bounds: Bounds
    sockets: "Sockets[Socket]"
    groups: Groups


class Handover:
    """What strawberry calls for a socket that is open: its line is listened to, without a task."""

    def __init__(self, endpoint: Endpoint, *, websocket: Any, context: Session, **_: Any) -> None:
        self._endpoint = endpoint
        self._line: Line = websocket.ws.scope["extensions"][EXTENSION]
        self._session = context

    async def handle(self) -> None:
        """Begin, and return at once."""
        Socket(self._endpoint, self._line, self._session).begin()


class Running:
    """One operation of a socket: it has a task, or is one of a group of subscriptions and has none."""

    __slots__ = (
        "_context",
        "_extensions",
        "_operation",
        "_presenter",
        "_socket",
        "cursor",
        "group",
        "head",
        "id",
        "line",
        "task",
    )

    cursor: Cursor

    def __init__(self, socket: "Socket", id: str) -> None:
        self.id = id
        self.line = socket.line
        self.head = b'{"id":%b,"type":"next","payload":' % orjson.dumps(id)
        self.group: Group | None = None
        self.task: asyncio.Task[None] | None = None
        self._socket = socket
        self._operation: Operation | None = None
        self._presenter: Presenter | None = None
        self._extensions: dict[str, Any] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether a result is sent as it is to anybody."""
        return self._extensions is None

    def tell(self, outcome: Outcome) -> bool:
        """Send a result, with whatever is this operation's own; False where the peer must read first."""
        if outcome.json is not None and self.is_plain:
            return self.line.offer(next_frame(self.head, outcome.json))
        if self.line.closed or not self.line.writable.is_set():
            return False
        self.line.say(self._next(outcome.result))
        return True

    def end(self, error: Exception | None = None) -> None:
        """Say that there is no more, and why where there is an error."""
        if error is not None:
            self.line.say(self._next(failed(error).result))
        self._leave_group()
        self._socket.forget(self)
        self.line.say(frame(orjson.dumps({"id": self.id, "type": "complete"})))

    def stop(self) -> None:
        """Go no further, and say nothing."""
        if self.task is not None:
            self.task.cancel()
        self._leave_group()

    async def run(self, payload: dict[str, Any]) -> None:
        """Answer a request, or have a group answer it."""
        # A client's ids are unique only within its socket; the request's id is beside it in each line.
        logs.operation_id.set(logs.identifier(self.id) or uuid.uuid4().hex)
        self._context = copy_context()
        try:
            await self._answer(payload)
        except Exception:
            log.exception("An operation died")
            self.end()

    async def _answer(self, payload: dict[str, Any]) -> None:
        session, schema = self._socket.session, self._socket.endpoint.schema
        own = context(session.services, session.authenticated)
        operation = self._operation = schema.operation(
            Asked.of(payload), payload.get("variables"), payload.get("operationName"), own
        )
        found = await schema.begin(operation)
        if self._socket.operations.get(self.id) is not self:
            # Stopped meanwhile: what waits for Redis may have taken no notice.
            return
        self._extensions = operation.told_cost(schema.limits.cost) or None
        match found:
            case PreExecutionError(errors=errors):
                self._refuse(errors or [])
            case StrawberryResult(data=data, errors=errors):
                await self._send(ExecutionResult(data, errors))
                self.end()
            case OperationExecutor():
                await self._subscribe(found)

    async def _subscribe(self, executor: OperationExecutor) -> None:
        source = create_source_event_stream(executor)
        if not isinstance(source, ExecutionResult | AsyncIterable):
            source = await source
        if isinstance(source, ExecutionResult):
            await self._send(source)
            self.end()
        elif isinstance(source, Live) and source.watch.chooses_at_once:
            await self._join(executor, source)
        else:
            await self._follow(executor, source)

    async def _join(self, executor: OperationExecutor, live: Live[Any]) -> None:
        """Become one of a group, which needs no task for it."""
        if live.watch.is_over:
            return self.end()
        try:
            self.cursor = await live.watch.open()
        except Exception as error:  # noqa: BLE001 - whatever it was, it is presented
            return self.end(error)
        self.group = self._socket.endpoint.groups.of(executor, live, self.cursor)
        self.task = self._operation = None
        self.group.join(self)
        return None

    async def _follow(self, executor: OperationExecutor, source: AsyncIterable[Any]) -> None:
        error = None
        try:
            async with aclosing(cast("AsyncGenerator[Any, None]", aiter(source))) as payloads:
                async for payload in payloads:
                    result = executor.event(payload)
                    await self._send(result if isinstance(result, ExecutionResult) else await result)
        except Exception as found:  # noqa: BLE001 - whatever it was, it is presented
            error = found
        self.end(error)

    def _described(self) -> dict[str, str]:
        return {} if self._operation is None else described(self._operation)

    def _leave_group(self) -> None:
        if self.group is not None:
            self.group.leave(self)
            self.group = None

    async def _send(self, result: ExecutionResult) -> None:
        await self.line.writable.wait()
        self.line.say(self._next(result))

    def _next(self, result: ExecutionResult) -> bytes:
        payload: dict[str, Any] = {"data": result.data}
        if result.errors:
            payload["errors"] = self._presented(result.errors)
        if self._extensions is not None:
            payload["extensions"], self._extensions = self._extensions, None
        return next_frame(self.head, orjson.dumps(payload))

    def _refuse(self, errors: Sequence[GraphQLError]) -> None:
        self._socket.forget(self)
        self._socket.refuse(self.id, self._presented(errors))

    def _presented(self, errors: Sequence[GraphQLError]) -> list[Any]:
        if self._presenter is None:
            what = self.group.described if self.group is not None else self._described()
            self._presenter = Presenter(self._socket.endpoint.schema.limits.errors, what)
        return [error.formatted for error in self._context.run(self._presenter.present, errors)]


class Socket:
    """Authenticates in connection_init, ends with the token, keeps one operation's mistakes from the rest.

    The codes with which it closes say to clients of the library graphql-ws whether to come back: they do
    after 1012, 1013, 4403 and 4408, after 1000 once they have an operation, and after the others never.
    """

    __slots__ = ("_acknowledged", "_begun", "_life", "_rest", "endpoint", "line", "operations", "session")

    def __init__(self, endpoint: Endpoint, line: Line, session: Session) -> None:
        self.endpoint = endpoint
        self.line = line
        self.session = session
        self.operations: dict[str, Running] = {}
        self._begun = False
        self._acknowledged = False
        self._life: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Listen, if there is a place."""
        self.line.listen(self)
        try:
            oldest = self.endpoint.sockets.enter(self)
        except Full:
            self.close(TRY_AGAIN_LATER, "There are too many sockets")
            return
        if oldest is not None:
            oldest.close(INITIALISATION_TIMEOUT, LATE)
        self._life = self._close_after(self.endpoint.bounds.init_seconds, INITIALISATION_TIMEOUT, LATE)

    def close(self, code: int, reason: str) -> None:
        """Close; nothing is sent any more."""
        self.line.hang_up(code, reason)

    def lost(self) -> None:
        """Stop all that runs."""
        for timer in (self._life, self._rest):
            if timer is not None:
                timer.cancel()
        running, self.operations = self.operations, {}
        for each in running.values():
            each.stop()
        self.endpoint.sockets.leave(self)

    def heard(self, text: str | None) -> None:
        """Do what a message says."""
        if text is None:
            return self.close(INVALID_MESSAGE, "WebSocket message type must be text")
        try:
            message = decoded(text)
        except json.JSONDecodeError:
            return self.close(INVALID_MESSAGE, "WebSocket message must be valid JSON")
        if problem := _problem(message):
            return self.close(INVALID_MESSAGE, problem)
        match message["type"]:
            case "connection_init":
                self._init(message.get("payload") or {})
            case "ping":
                self.line.say(PONG)
            case "subscribe":
                self._subscribe(message["id"], message["payload"])
            case "complete":
                self._complete(message["id"])
        return None

    def forget(self, running: Running) -> None:
        """Count an operation no longer: its id is free."""
        if self.operations.get(running.id) is running:
            del self.operations[running.id]
            if not self.operations:
                self._rest_from_now()

    def refuse(self, id: str, errors: list[Any]) -> None:
        """Answer an operation with what keeps it from being executed."""
        self.line.say(frame(orjson.dumps({"id": id, "type": "error", "payload": errors})))

    def _init(self, payload: dict[str, Any]) -> None:
        if self._begun:
            return self.close(TOO_MANY_INITIALISATIONS, "Too many initialisation requests")
        self._begun = True
        self._stop_life()
        # Whatever comes meanwhile is heard when the caller is known.
        self.line.hold()
        self.line.attend(asyncio.create_task(self._authenticate(payload)))
        return None

    async def _authenticate(self, payload: dict[str, Any]) -> None:
        try:
            self._accept(await self._caller(payload))
        except Unauthenticated as error:
            self.close(FORBIDDEN, error.message)
        except Unavailable as error:
            self.close(TRY_AGAIN_LATER, error.message)
        except Full:
            self.close(TRY_AGAIN_LATER, "You have too many sockets: close one")
        self.line.release()

    async def _caller(self, payload: dict[str, Any]) -> Caller:
        """The caller named by the init payload, whatever its letter case, or by `?token=` as of old."""
        header = next((value for key, value in payload.items() if key.lower() == "authorization"), None)
        if header is None and self.session.query_token is not None:
            header = f"Bearer {self.session.query_token}"
        if not isinstance(header, str):
            raise Unauthenticated("Send {'Authorization': 'Bearer <token>'} as the connection_init payload.")
        return await self.session.verifier.caller(bearer(header))

    def _accept(self, caller: Caller) -> None:
        if self.line.closed:
            return
        self.endpoint.sockets.admit(self, caller.subject)
        self.session.caller = caller
        self._live_until(caller.expires_at)
        self._rest_from_now()
        self.line.say(ACKNOWLEDGED)
        self._acknowledged = True

    def _subscribe(self, id: str, payload: dict[str, Any]) -> None:
        """Start an operation, unless it is one too many or too deeply nested: its error, not the socket's."""
        if not self._acknowledged:
            return self.close(UNAUTHORIZED, "Unauthorized")
        if id in self.operations:
            return self.close(ID_TAKEN, f"Subscriber for {id} already exists")
        if problem := self._operation_problem(payload):
            return self.refuse(id, [present(GraphQLError(problem)).formatted])
        self._stop_rest()
        running = self.operations[id] = Running(self, id)
        running.task = asyncio.create_task(running.run(payload))
        self.line.attend(running.task)
        return None

    def _operation_problem(self, payload: dict[str, Any]) -> str | None:
        if problem := too_deep(payload, self.endpoint.schema.limits.json_depth):
            return problem
        if len(self.operations) >= self.endpoint.bounds.operations:
            return "Too many operations run on this socket: complete one."
        return None

    def _complete(self, id: str) -> None:
        running = self.operations.get(id)
        if running is not None:
            self.forget(running)
            running.stop()

    def _live_until(self, expiry: datetime) -> None:
        left = (expiry - datetime.now(UTC)).total_seconds()
        lifetime = self.endpoint.bounds.lifetime_seconds
        if left < lifetime:
            self._life = self._close_after(left, FORBIDDEN, EXPIRED)
        else:
            self._life = self._close_after(lifetime, SERVICE_RESTART, "The socket is old: open another")

    def _rest_from_now(self) -> None:
        self._stop_rest()
        self._rest = self._close_after(
            self.endpoint.bounds.idle_seconds, NORMAL_CLOSURE, "The socket is not used"
        )

    def _stop_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _stop_life(self) -> None:
        if self._life is not None:
            self._life.cancel()
            self._life = None

    def _close_after(self, seconds: float, code: int, reason: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self.close, code, reason)


def _problem(message: Any) -> str | None:
    """What makes a frame no message of the protocol."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "A message must be an object with a `type`"
    match message:
        case {"type": "connection_init", "payload": payload} if not isinstance(payload, dict | None):
            return "The connection_init payload must be an object"
        case {"type": "subscribe" | "complete", **rest} if not isinstance(rest.get("id"), str):
            return "A message about an operation must have an `id`"
        case {"type": "subscribe", **rest}:
            return _request_problem(rest.get("payload"))
        case {"type": "connection_init" | "ping" | "pong" | "complete"}:
            return None
    return f"Unknown message type: {message['type']}"


def _request_problem(payload: Any) -> str | None:
    if problem := misshapen(payload):
        return problem
    if payload.get("query") is None and not Asked.of(payload).names_document:
        return "A subscribe payload must have a `query`"
    return None
