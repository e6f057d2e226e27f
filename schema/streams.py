"""Streams of results over HTTP, which end with the token that they were opened with."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from graphql import GraphQLError
from strawberry.http.streaming import SSETransport
from strawberry.types import ExecutionResult

from app.errors import ErrorCode

CRLF, LF = "\r\n", "\n"
EXPIRED = "The token has expired: get a new one."


class EventStream(SSETransport):
    """Server-sent events whose lines end as urql's own fetch needs them to; the standard knows both ends."""

    def encode_event(self, event: str, data: str | None = None) -> str:
        return super().encode_event(event, data).replace(CRLF, LF)

    def encode_comment(self, comment: str) -> str:
        return super().encode_comment(comment).replace(CRLF, LF)


async def until(results: Any, moment: datetime) -> AsyncGenerator[Any, None]:
    """The results, and from a moment on nothing but the error that the token has expired."""
    deadline = asyncio.get_running_loop().time() + (moment - datetime.now(UTC)).total_seconds()
    async with aclosing(results):
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    result = await anext(results, None)
                if result is None:
                    return
                yield result
        except TimeoutError:
            error = GraphQLError(EXPIRED, extensions={"code": ErrorCode.UNAUTHENTICATED.value})
            yield ExecutionResult(None, [error])
