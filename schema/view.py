"""GraphQL over HTTP: queries, mutations, and subscriptions over SSE and multipart."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketDisconnected as AlreadyClosed
from strawberry.asgi import ASGIWebSocketAdapter, GraphQL
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.http.base import BaseRequestProtocol
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions import (
    GRAPHQL_SSE_PROTOCOL,
    GRAPHQL_TRANSPORT_WS_PROTOCOL,
    MULTIPART_SUBSCRIPTION_PROTOCOL,
)
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from app import logs
from app.auth import Verifier, bearer
from app.errors import ErrorCode, Unauthenticated, Unavailable
from resolvers.context import Services
from schema import Schema
from schema.named import Asked, misshapen
from schema.requests import decoded, too_deep
from schema.session import Session
from schema.shared import text
from schema.socket import SocketHandler

log = logging.getLogger(__name__)

RESPONSE_TYPE = "application/graphql-response+json"
PROTOCOLS = (GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL, MULTIPART_SUBSCRIPTION_PROTOCOL)


@dataclass(frozen=True)
class Options:
    """What the transports are bounded by."""

    connection_init_timeout_seconds: float
    max_operations_per_socket: int
    max_body_bytes: int


class TextFrames(ASGIWebSocketAdapter):
    """Sends JSON as text frames: clients cannot parse binary ones."""

    async def send_json(self, message: Any) -> None:
        try:
            await self.ws.send_text(text(message))
        except (WebSocketDisconnect, AlreadyClosed) as error:
            raise WebSocketDisconnected from error


class GraphQLView(GraphQL[Session, None]):
    """The endpoint for HTTP and WebSocket; `page` is what a browser's GET gets, None for nothing."""

    websocket_adapter_class = TextFrames
    graphql_transport_ws_handler_class = SocketHandler

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
            connection_init_wait_timeout=timedelta(seconds=options.connection_init_timeout_seconds),
            max_subscriptions_per_connection=options.max_operations_per_socket,
        )
        self._max_body_bytes = options.max_body_bytes
        self._max_json_depth = schema.limits.json_depth
        self._verifier = verifier
        self._services = services
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            response = await self._respond(Request(scope, bounded(receive, self._max_body_bytes)))
            await response(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def get_context(self, request: HTTPConnection, response: Any) -> Session:
        """The session of a WebSocket, which authenticates in connection_init."""
        return Session(self._services(request), self._verifier, request.query_params.get("token"))

    async def _respond(self, request: Request) -> Response:
        if self._page is not None and wants_page(request):
            return self._page()
        try:
            caller = await self._verifier.caller(bearer(request.headers.get("authorization", "")))
            session = Session(self._services(request), self._verifier, caller=caller)
            response = await self.run(request, context=session)
            if session.refusal is not None:
                response.headers["Retry-After"] = str(session.refusal.retry_after_seconds)
            return response
        except Unauthenticated as error:
            return failure(401, error.message, error.code, {"WWW-Authenticate": "Bearer"})
        except Unavailable as error:
            seconds = error.retry_after_seconds or 1
            return failure(
                503, error.message, error.code, {"Retry-After": str(seconds)}, {"retryAfter": seconds}
            )
        except HTTPException as error:
            return failure(error.status_code, error.reason, ErrorCode.INVALID_INPUT)
        except ClientDisconnect:
            return failure(400, "The request was cut off.", ErrorCode.INVALID_INPUT)

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        """The one operation of a request; raises HTTPException for anything else."""
        transport = self._get_stream_transport_from_headers(request.headers)
        if request.method == "GET":
            data = self.parse_query_params(request.query_params)
        elif is_json(request.content_type or ""):
            data = self.parse_json(await request.get_body())
        else:
            raise HTTPException(415, "Send the content type application/json.")
        if problem := misshapen(data):
            raise HTTPException(400, problem)
        if too_deep(data, self._max_json_depth):
            raise HTTPException(400, f"A value is nested deeper than {self._max_json_depth} levels.")
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

    def decode_json(self, data: str | bytes) -> object:
        return decoded(data)

    def encode_json(self, data: object) -> bytes:
        return orjson.dumps(data)

    async def get_sub_response(self, request: Request | WebSocket) -> Response:
        sub_response = await super().get_sub_response(request)
        sub_response.headers["content-type"] = negotiated(request)
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

    def create_response(self, response_data: Any, sub_response: Response) -> Response:
        media_type = sub_response.headers["content-type"]
        # That a request could not be executed only the newer media type may say by a status.
        refused = "data" not in response_data and media_type == RESPONSE_TYPE
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
            raise HTTPException(413, f"A request may have {max_bytes:,} bytes at most.")
        return message

    return receive_bounded


def wants_page(request: Request) -> bool:
    """Whether this is a browser's GET for a page, not an operation."""
    return (
        request.method == "GET"
        and "text/html" in request.headers.get("accept", "")
        and not {"query", "documentId", "extensions"} & request.query_params.keys()
    )


def negotiated(request: HTTPConnection) -> str:
    """The media type of the response: the newer one for those who name it, JSON for the rest."""
    return RESPONSE_TYPE if RESPONSE_TYPE in request.headers.get("accept", "") else "application/json"


def failure(
    status: int,
    message: str,
    code: ErrorCode,
    headers: dict[str, str] | None = None,
    extensions: dict[str, Any] | None = None,
) -> Response:
    """A request error as GraphQL over HTTP wants it: JSON, with a code.

    It is always of the newer media type, in which alone a status other than 200 speaks for GraphQL.
    """
    # Other messages may quote what the client sent.
    reason = {"reason": message} if code in (ErrorCode.UNAUTHENTICATED, ErrorCode.UNAVAILABLE) else {}
    log.info("Refused a request", extra=logs.fields(code=code.value, status=status, **reason))
    body = {"errors": [{"message": message, "extensions": {"code": code, **(extensions or {})}}]}
    return Response(orjson.dumps(body), status, headers, media_type=RESPONSE_TYPE)


def refusal_status(errors: list[dict[str, Any]]) -> int:
    """The status of a request that was not executed."""
    limited = any(error["extensions"]["code"] == ErrorCode.RATE_LIMITED for error in errors)
    return 429 if limited else 400


def is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"
