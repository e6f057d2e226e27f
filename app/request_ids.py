"""An id for every HTTP request and WebSocket: in each log line of its, and in the response."""

import logging
import re
from collections.abc import Iterable
from random import getrandbits

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs

log = logging.getLogger(__name__)

HEADER, TRACEPARENT = b"x-request-id", b"traceparent"
_OPENINGS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
# What ends a socket in good order; all else is a refusal.
_GOOD_ENDS = (1000, 1001, 1012)
# Refusals whose reasons are about a token; others may quote what the client sent.
_EXPLAINED_ENDS = (1013, 4403)
# Trace Context (W3C): version, trace (not all zeros), parent, flags.
_TRACE = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class RequestIds:
    """An ASGI application whose requests have ids: the client's own where it sends a usable one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        id = chosen(scope["headers"])
        logs.request_id.set(id)

        async def naming(message: Message) -> None:
            if message["type"] in _OPENINGS:
                message["headers"] = [*message.get("headers", ()), (HEADER, id.encode())]
            elif message["type"] == "websocket.close":
                note_close(message.get("code", 1000), message.get("reason"))
            await send(message)

        await self._app(scope, receive, naming)


def chosen(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id in `X-Request-ID`, else the trace's in `traceparent`, else one of our own."""
    given = dict(headers)
    if (sent := given.get(HEADER)) and (id := logs.identifier(sent.decode("latin-1"))):
        return id
    if (sent := given.get(TRACEPARENT)) and (trace := _TRACE.fullmatch(sent)):
        return trace[1].decode()
    return f"{getrandbits(128):032x}"  # nosec B311 - an id is no secret


def note_close(code: int, reason: str | None) -> None:
    """Log that a socket was closed, unless in good order."""
    if code not in _GOOD_ENDS:
        explained = {"reason": reason} if reason and code in _EXPLAINED_ENDS else {}
        log.info("Closed a socket", extra=logs.fields(closeCode=code, **explained))
