"""Streams of results over HTTP, which end with the token that they were opened with."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing, suppress
from datetime import UTC, datetime
from typing import Any

import orjson
from graphql import GraphQLError
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from strawberry.http import GraphQLHTTPResponse, process_result
from strawberry.http.streaming import (
    HTTPStreamTransport,
    MultipartSubscriptionTransport,
    SSETransport,
    merge_stream_with_heartbeat,
)
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from app.errors import ErrorCode

CRLF, LF = "\r\n", "\n"
EXPIRED = "The token has expired: get a new one."


class EventStream(SSETransport):
    """Server-sent events whose lines end as urql's own fetch needs them to; the standard knows both ends."""

    def encode_event(self, event: str, data: str | None = None) -> str:
        return super().encode_event(event, data).replace(CRLF, LF)

    def encode_comment(self, comment: str) -> str:
        return super().encode_comment(comment).replace(CRLF, LF)


class Stream(StreamingResponse):
    """Results as they come, with signs of life in between; what it holds is given back when it ends."""

    def __init__(self, results: AsyncIterator[Any], transport: HTTPStreamTransport, held: ExitStack) -> None:
        super().__init__(_encoded(results, transport), headers=transport.headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


def transports(heartbeat_seconds: float) -> tuple[HTTPStreamTransport, ...]:
    """The ways to stream, each with its signs of life."""
    multipart = MultipartSubscriptionTransport()
    multipart.heartbeat_interval = heartbeat_seconds
    return EventStream(heartbeat_seconds), multipart


def told(result: ExecutionResult) -> GraphQLHTTPResponse:
    """A result as it is sent; `data` is absent, not null, where nothing was executed."""
    response = process_result(result)
    if isinstance(result, PreExecutionError):
        del response["data"]
    return response


async def until(results: Any, moment: datetime) -> AsyncGenerator[Any, None]:
    """The results, and from a moment on nothing but the error that the token has expired."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (moment - datetime.now(UTC)).total_seconds()
    async with aclosing(results):
        with suppress(TimeoutError):
            # Where there is always one at hand, nothing is waited for that could be timed.
            while loop.time() < deadline:
                async with asyncio.timeout_at(deadline):
                    result = await anext(results, None)
                if result is None:
                    return
                yield result
        error = GraphQLError(EXPIRED, extensions={"code": ErrorCode.UNAUTHENTICATED.value})
        yield ExecutionResult(None, [error])


def _encoded(results: AsyncIterator[Any], transport: HTTPStreamTransport) -> AsyncIterator[str]:
    async def parts() -> AsyncGenerator[str, None]:
        async for result in results:
            yield transport.encode_next(told(result), _json)
        yield transport.encode_complete()

    return merge_stream_with_heartbeat(
        parts,
        lambda: transport.heartbeat_message(_json),
        transport.heartbeat_interval,
        send_initial_heartbeat=transport.send_initial_heartbeat,
    )()


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
