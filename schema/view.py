"""GraphQL over HTTP: queries, mutations, and subscriptions over SSE and multipart."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from http import HTTPStatus
from typing import Any

import orjson
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.http.base import BaseRequestProtocol
from strawberry.http.streaming import HTTPStreamTransport, MultipartSubscriptionTransport
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.subscriptions import (
    GRAPHQL_SSE_PROTOCOL,
    GRAPHQL_TRANSPORT_WS_PROTOCOL,
    MULTIPART_SUBSCRIPTION_PROTOCOL,
)
from strawberry.types import ExecutionResult, SubscriptionExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from app import logs
from app.auth import Verifier, bearer
from app.errors import ErrorCode, Unauthenticated, Unavailable
from app.refusals import GRAPHQL_JSON, refusal
from resolvers.context import Services
from schema import Schema
from schema.named import Asked, misshapen
from schema.negotiation import (
    METHODS,
    Refused,
    check_body,
    check_method,
    json_type,
    not_acceptable,
)
from schema.occupancy import Full, Places, Sockets
from schema.requests import decoded, too_deep
from schema.session import Session
from schema.shared import Groups
from schema.socket import Bounds, Endpoint, Handover, Socket
from schema.streams import EventStream, until

log = logging.getLogger(__name__)

RETRY_SECONDS = 10
ACCEPTS = 256
PROTOCOLS = (GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL, MULTIPART_SUBSCRIPTION_PROTOCOL)


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


class GraphQLView(GraphQL[Session, None]):
    """The endpoint for HTTP and WebSocket; `page` is what a browser's GET gets, None for nothing."""

    def __init__(
        self,
        schema: Schema,
        services: Callable[[HTTPConnection], Services],
        verifier: Verifier,
        page: Callable[[], Response] | None,
        options: Options,
    ) -> None:
        super().__init__(
            schema,
            graphql_ide=None,
            subscription_protocols=PROTOCOLS,
            allowed_origins=options.origins,
        )
        sockets = Sockets[Socket](
            options.max_sockets, options.max_sockets_per_user, options.max_uninitialised_sockets
        )
        bounds = Bounds(
            options.connection_init_timeout_seconds,
            options.socket_idle_seconds,
            options.socket_lifetime_seconds,
            options.max_operations_per_socket,
        )
        self.graphql_transport_ws_handler_class = partial(  # type: ignore[assignment]  # strawberry only calls it
            Handover, Endpoint(schema, bounds, sockets, Groups())
        )
        self._options = options
        self._streams = Places(options.max_streams_per_user)
        self._max_json_depth = schema.limits.json_depth
        self._verifier = verifier
        self._services = services
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            with ExitStack() as places:
                request = Request(scope, bounded(receive, self._options.max_body_bytes))
                response = await self._respond(request, places)
                await response(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def get_context(self, request: HTTPConnection, response: Any) -> Session:
        """The session of a WebSocket, which authenticates in connection_init."""
        return Session(self._services(request), self._verifier, request.query_params.get("token"))

    async def _respond(self, request: Request, places: ExitStack) -> Response:
        if self._page is not None and wants_page(request):
            return self._page()
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": METHODS})
        try:
            return await self._answer(request, places)
        except (Unauthenticated, Unavailable, Refused, HTTPException, ClientDisconnect) as error:
            return _refusal(error)

    async def _answer(self, request: Request, places: ExitStack) -> Response:
        check_method(request.method)
        caller = await self._verifier.caller(bearer(request.headers.get("authorization", "")))
        session = Session(self._services(request), self._verifier, caller=caller)
        if self._get_stream_transport_from_headers(request.headers) is None:
            response = await self._one(request, session)
        else:
            places.enter_context(self._place(caller.subject))
            response = await self.run(request, context=session)
        if session.refusal is not None:
            response.headers["Retry-After"] = str(session.refusal.retry_after_seconds)
        return response

    async def _one(self, request: Request, session: Session) -> Response:
        """The response of a request that accepts JSON alone."""
        media_type, adapter = self._media_type(request), self.request_adapter_class(request)
        result = await self.execute_operation(
            request=request,
            request_adapter=adapter,
            request_data=await self.parse_http_body(adapter),
            context=session,
            root_value=None,
            sub_response=None,
        )
        return self._json(await self.process_result(request, result), media_type)

    @contextmanager
    def _place(self, user: str) -> Iterator[None]:
        """One of the user's places for streams; raises Refused (429) where there is none."""
        try:
            self._streams.take(user)
        except Full:
            message = f"You have {self._options.max_streams_per_user} streams open: close one."
            retry = {"Retry-After": str(RETRY_SECONDS)}
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, message, retry, ErrorCode.RATE_LIMITED) from None
        try:
            yield
        finally:
            self._streams.leave(user)

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        """The one operation of a request; raises HTTPException for anything else."""
        transport = self._get_stream_transport_from_headers(request.headers)
        if request.method == "GET":
            data = self.parse_query_params(request.query_params)
        else:
            check_body(request.content_type or "", request.headers.get("content-encoding", ""))
            check_length(request.headers.get("content-length", ""), self._options.max_body_bytes)
            data = self.parse_json(await request.get_body())
        if problem := misshapen(data) or too_deep(data, self._max_json_depth):
            raise HTTPException(400, problem)
        return GraphQLRequestData(
            query=Asked.of(data),
            variables=data.get("variables"),
            operation_name=data.get("operationName"),
            extensions=data.get("extensions"),
            protocol=transport.protocol if transport else "http",
        )

    def should_render_graphql_ide(self, request: BaseRequestProtocol) -> bool:
        """Never: what is left of them here is no page's."""
        return False

    async def execute_operation(self, *_: Any, **given: Any) -> Any:
        """One result, or a stream that ends with the token; a mutation by GET raises Refused (405)."""
        try:
            result = await self._execute(**given)
        except HTTPException as error:
            if _refused_type(error) is OperationType.MUTATION and given["request"].method == "GET":
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, error.reason, {"Allow": "POST"}) from error
            raise
        if isinstance(result, SubscriptionExecutionResult):
            return until(result, given["context"].authenticated.expires_at)
        return result

    async def _execute(self, **given: Any) -> Any:
        """Where JSON and SSE are both accepted, only a subscription makes a stream."""
        if given["request_data"].protocol == "sse" and json_type(given["request"].headers["accept"]):
            try:
                return await self.execute_single(**given)
            except HTTPException as error:
                if _refused_type(error) is not OperationType.SUBSCRIPTION:
                    raise
        return await super().execute_operation(**given)

    @cached_property
    def _stream_transport_map(self) -> dict[str, HTTPStreamTransport]:
        seconds = self._options.stream_heartbeat_seconds
        sse, multipart = EventStream(seconds), MultipartSubscriptionTransport()
        multipart.heartbeat_interval = seconds
        return {sse.protocol: sse, multipart.protocol: multipart}

    def _get_stream_transport_from_headers(self, headers: Mapping[str, str]) -> HTTPStreamTransport | None:
        return self._stream_transport(headers.get("accept", ""))

    @cached_property
    def _stream_transport(self) -> Callable[[str], HTTPStreamTransport | None]:
        """What an Accept header asks for; most clients send one of a few."""
        find = super()._get_stream_transport_from_headers
        return lru_cache(ACCEPTS)(lambda accept: find({"accept": accept}))

    def decode_json(self, data: str | bytes) -> object:
        return decoded(data)

    def encode_json(self, data: object) -> bytes:
        return orjson.dumps(data)

    async def get_sub_response(self, request: Request | WebSocket) -> Response:
        sub_response = await super().get_sub_response(request)
        sub_response.headers["content-type"] = self._media_type(request)
        return sub_response

    async def create_streaming_response(
        self,
        request: Request | WebSocket,
        stream: Callable[[], AsyncIterator[str]],
        sub_response: Response,
        headers: Mapping[str, str],
    ) -> Response:
        # A stream has a media type of its own, and a response must not have two.
        del sub_response.headers["content-type"]
        return await super().create_streaming_response(request, stream, sub_response, headers)

    async def process_result(self, request: Any, result: ExecutionResult) -> GraphQLHTTPResponse:
        """The response; `data` is absent, not null, where nothing was executed."""
        response = await super().process_result(request, result)
        if isinstance(result, PreExecutionError):
            del response["data"]
        return response

    def _media_type(self, request: HTTPConnection) -> str:
        """That of JSON responses; raises Refused (406) where neither they nor a stream are accepted."""
        chosen = json_type(request.headers.get("accept", ""))
        if chosen is None and self._get_stream_transport_from_headers(request.headers) is None:
            raise not_acceptable()
        return chosen or GRAPHQL_JSON

    def create_response(self, response_data: Any, sub_response: Response) -> Response:
        return self._json(response_data, sub_response.headers["content-type"])

    def _json(self, response_data: Any, media_type: str) -> Response:
        # That a request could not be executed only the newer media type may say by a status.
        refused = "data" not in response_data and media_type == GRAPHQL_JSON
        status = refusal_status(response_data["errors"]) if refused else 200
        return Response(self.encode_json(response_data), status, media_type=media_type)


def bounded(receive: Receive, max_bytes: int) -> Receive:
    """A body as it comes, whatever length it claims; raises HTTPException (413) above the limit."""
    left = max_bytes

    async def receive_bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_large(max_bytes)
        return message

    return receive_bounded


def wants_page(request: Request) -> bool:
    """Whether this is a browser's GET for a page, not an operation."""
    return (
        request.method in ("GET", "HEAD")
        and "text/html" in request.headers.get("accept", "")
        and not {"query", "documentId", "extensions"} & request.query_params.keys()
    )


def _refused_type(error: HTTPException) -> OperationType | None:
    """The type of the operation that strawberry refused, if that is why."""
    cause = error.__cause__
    return cause.operation_type if isinstance(cause, InvalidOperationTypeError) else None


def check_length(content_length: str, max_bytes: int) -> None:
    """Raise HTTPException (413) for a body that says itself that it is too large."""
    if content_length.isdigit() and int(content_length) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"A request may have {max_bytes:,} bytes at most.")


def _refusal(error: Exception) -> Response:
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
        case HTTPException():
            return failure(error.status_code, error.reason, ErrorCode.INVALID_INPUT)
        case _:
            return failure(400, "The request was cut off.", ErrorCode.INVALID_INPUT)


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


def refusal_status(errors: list[dict[str, Any]]) -> int:
    """The status of a request that was not executed."""
    limited = any(error["extensions"]["code"] == ErrorCode.RATE_LIMITED for error in errors)
    return 429 if limited else 400
