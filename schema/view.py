"""GraphQL over HTTP: queries, mutations, and subscriptions over SSE and multipart."""

import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from json import JSONDecodeError
from typing import Any

import orjson
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.asgi import GraphQL
from strawberry.exceptions import MissingQueryError
from strawberry.http.streaming import HTTPStreamTransport
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app import logs
from app.auth import Verifier, bearer
from app.errors import ErrorCode, Unauthenticated, Unavailable
from app.refusals import GRAPHQL_JSON, refusal
from resolvers.context import Services
from schema import NeedsStream, Schema
from schema.named import Asked, misshapen
from schema.negotiation import METHODS, Refused, check_body, check_method, json_type, not_acceptable
from schema.occupancy import Full, Places, Sockets
from schema.requests import decoded, too_deep
from schema.session import Session
from schema.shared import Groups
from schema.socket import Bounds, Endpoint, Handover, Socket
from schema.streams import Stream, told, transports, until
from schema.wire import Answer, Request

log = logging.getLogger(__name__)

RETRY_SECONDS = 10
ACCEPTS = 256
TYPES = {"GET": OperationType.from_http("GET"), "POST": OperationType.from_http("POST")}
UNEXECUTABLE = (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError)


@dataclass(frozen=True)
class Options:
    """What the transports are bounded by."""

    connection_init_timeout_seconds: float
    max_operations_per_socket: int
    max_body_bytes: int
    max_sockets: int
    max_sockets_per_user: int
    max_uninitialised_sockets: int
    max_streams_per_user: int
    socket_idle_seconds: float
    socket_lifetime_seconds: float
    stream_heartbeat_seconds: float
    origins: tuple[str, ...]


class Handshakes(GraphQL[Session, None]):
    """Opens WebSockets: to pages of the origins, and to whoever is no page."""

    def __init__(
        self, endpoint: Endpoint, origins: tuple[str, ...], session: Callable[[HTTPConnection], Session]
    ) -> None:
        super().__init__(
            endpoint.schema,
            graphql_ide=None,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL,),
            allowed_origins=origins,
        )
        self.graphql_transport_ws_handler_class = partial(  # type: ignore[assignment]  # strawberry only calls it
            Handover, endpoint
        )
        self._session = session

    async def get_context(self, request: HTTPConnection, response: Any) -> Session:
        """The session of a socket, which authenticates in connection_init."""
        return self._session(request)


class GraphQLView:
    """The endpoint for HTTP and WebSocket; `page` is what a browser's GET gets, None for nothing."""

    def __init__(
        self,
        schema: Schema,
        services: Callable[[Scope], Services],
        verifier: Verifier,
        page: Callable[[], Response] | None,
        options: Options,
    ) -> None:
        sockets = Sockets[Socket](
            options.max_sockets, options.max_sockets_per_user, options.max_uninitialised_sockets
        )
        bounds = Bounds(
            options.connection_init_timeout_seconds,
            options.socket_idle_seconds,
            options.socket_lifetime_seconds,
            options.max_operations_per_socket,
        )
        self._handshakes = Handshakes(
            Endpoint(schema, bounds, sockets, Groups()), options.origins, self._session_of_socket
        )
        self._schema = schema
        self._options = options
        self._places = Places(options.max_streams_per_user)
        self._transports = transports(options.stream_heartbeat_seconds)
        self._verifier = verifier
        self._services = services
        self._page = page
        # Most clients send one of a few.
        self._accepted = lru_cache(ACCEPTS)(self._negotiated)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._handshakes(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await self._response(request)
        except (Unauthenticated, Unavailable, Refused) as error:
            response = _refusal(error)
        except UNEXECUTABLE as error:
            response = _refusal(_unexecutable(error, request.method))
        await response(scope, receive, send)

    def _session_of_socket(self, socket: HTTPConnection) -> Session:
        return Session(self._services(socket.scope), self._verifier, socket.query_params.get("token"))

    async def _response(self, request: Request) -> ASGIApp:
        """What a request is answered; raises what is answered by a refusal."""
        accept = request.header(b"accept")
        if self._page is not None and wants_page(request, accept):
            return self._page()
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": METHODS})
        check_method(request.method)
        caller = await self._verifier.caller(bearer(request.header(b"authorization")))
        session = Session(self._services(request.scope), self._verifier, caller=caller)
        media_type, transport = self._accepted(accept)
        if transport is not None:
            return await self._streamed(request, session, media_type, transport)
        if media_type is None:
            raise not_acceptable()
        return await self._answer(request, await self._data(request), session, media_type)

    def _negotiated(self, accept: str) -> tuple[str | None, HTTPStreamTransport | None]:
        """The media type of JSON, and the stream, that an Accept header asks for."""
        transport = next((each for each in self._transports if each.accepts(accept)), None)
        return json_type(accept), transport

    async def _data(self, request: Request) -> dict[str, Any]:
        """What a request asks for; raises Refused for what is no request of GraphQL."""
        if request.method == "GET":
            data: Any = request.parameters()
            data |= {name: _parsed(data[name]) for name in ("variables", "extensions") if data.get(name)}
        else:
            check_body(request.header(b"content-type"), request.header(b"content-encoding"))
            data = _parsed(await request.body(self._options.max_body_bytes))
        if problem := misshapen(data) or too_deep(data, self._schema.limits.json_depth):
            raise Refused(HTTPStatus.BAD_REQUEST, problem)
        found: dict[str, Any] = data
        return found

    async def _answer(
        self, request: Request, data: dict[str, Any], session: Session, media_type: str
    ) -> Answer:
        """The response with the one result of an operation."""
        result = await self._schema.execute(
            Asked.of(data),
            data.get("variables"),
            session,
            operation_name=data.get("operationName"),
            allowed_operation_types=TYPES[request.method],
        )
        answer = Answer(orjson.dumps(told(result)), media_type, _status(result, media_type))
        if session.refusal is not None:
            answer.retry_after(session.refusal.retry_after_seconds)
        return answer

    async def _streamed(
        self, request: Request, session: Session, media_type: str | None, transport: HTTPStreamTransport
    ) -> ASGIApp:
        """A stream; where JSON is accepted as well as events, one result is no stream."""
        caller = session.authenticated
        with ExitStack() as places:
            self._take_place(caller.subject, places)
            data = await self._data(request)
            if media_type is not None and transport.protocol == "sse":
                with suppress(NeedsStream):
                    return await self._answer(request, data, session, media_type)
            results = await self._schema.stream(
                Asked.of(data),
                data.get("variables"),
                session,
                operation_name=data.get("operationName"),
                allowed_operation_types=transport.allowed_operation_types(TYPES[request.method]),
            )
            return Stream(until(results, caller.expires_at), transport, places.pop_all())

    def _take_place(self, user: str, places: ExitStack) -> None:
        """Take one of the user's places for streams; raises Refused (429) where there is none."""
        try:
            self._places.take(user)
        except Full:
            message = f"You have {self._options.max_streams_per_user} streams open: close one."
            retry = {"Retry-After": str(RETRY_SECONDS)}
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, message, retry, ErrorCode.RATE_LIMITED) from None
        places.callback(self._places.leave, user)


def wants_page(request: Request, accept: str) -> bool:
    """Whether this is a browser's GET for a page, not an operation."""
    return (
        request.method in ("GET", "HEAD")
        and "text/html" in accept
        and not {"query", "documentId", "extensions"} & request.parameters().keys()
    )


def _parsed(text: str | bytearray) -> Any:
    try:
        return decoded(text)
    except JSONDecodeError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "Unable to parse request body as JSON") from error


def _status(result: ExecutionResult, media_type: str) -> HTTPStatus:
    """That a request could not be executed only the newer media type may say by a status."""
    if media_type != GRAPHQL_JSON or not isinstance(result, PreExecutionError):
        return HTTPStatus.OK
    codes = [(error.extensions or {}).get("code") for error in result.errors or ()]
    return HTTPStatus.TOO_MANY_REQUESTS if ErrorCode.RATE_LIMITED in codes else HTTPStatus.BAD_REQUEST


def _unexecutable(error: Exception, method: str) -> Refused:
    """Why a request's document comes to no operation here."""
    match error:
        case InvalidOperationTypeError(operation_type=OperationType.MUTATION):
            return Refused(
                HTTPStatus.METHOD_NOT_ALLOWED, error.as_http_error_reason(method), {"Allow": "POST"}
            )
        case InvalidOperationTypeError():
            return Refused(HTTPStatus.BAD_REQUEST, error.as_http_error_reason(method))
        case CannotGetOperationTypeError():
            return Refused(HTTPStatus.BAD_REQUEST, error.as_http_error_reason())
        case _:
            return Refused(HTTPStatus.BAD_REQUEST, "No GraphQL query found in the request")


def _refusal(error: Unauthenticated | Unavailable | Refused) -> Response:
    """What a request that is not taken is answered."""
    match error:
        case Unauthenticated():
            return failure(401, error.message, error.code, {"WWW-Authenticate": "Bearer"})
        case Unavailable():
            seconds = error.retry_after_seconds or 1
            retry = {"Retry-After": str(seconds)}
            return failure(503, error.message, error.code, retry, {"retryAfter": seconds})
        case Refused():
            return failure(error.status, error.message, error.code, error.headers)


def failure(
    status: int,
    message: str,
    code: ErrorCode,
    headers: dict[str, str] | None = None,
    extensions: dict[str, Any] | None = None,
) -> Response:
    """A request error as GraphQL over HTTP wants it: JSON, with a code."""
    # Other messages may quote what the client sent.
    reason = {"reason": message} if code in (ErrorCode.UNAUTHENTICATED, ErrorCode.UNAVAILABLE) else {}
    log.info("Refused a request", extra=logs.fields(code=code.value, status=int(status), **reason))
    body = refusal(message, code, **(extensions or {}))
    return Response(body, status, headers, media_type=GRAPHQL_JSON)
