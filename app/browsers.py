"""What browsers are told about every response, whose pages may ask, and under which names."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app.refusals import GRAPHQL_JSON, refusal

NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": NOTHING,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_SENT = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_NAMES = frozenset(name for name, _ in _SENT)
# What GraphQL clients send besides what any page may send.
REQUEST_HEADERS = (
    "Accept",
    "Apollo-Require-Preflight",
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "GraphQL-Require-Preflight",
    "Last-Event-ID",
    "X-Apollo-Operation-Name",
    "X-GraphQL-Event-Stream-Token",
    "X-Request-ID",
    "X-Requested-With",
)
RESPONSE_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate", "X-Request-ID")
PREFLIGHT_SECONDS = 600


class SecurityHeaders:
    """Puts the headers on every response that does not say otherwise itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", ())
                named = dict(own)
                # Nearly no response says any of it itself.
                rest = _SENT if _NAMES.isdisjoint(named) else [each for each in _SENT if each[0] not in named]
                message["headers"] = [*own, *rest]
            await send(message)

        await self._app(scope, receive, secured if scope["type"] == "http" else send)


class KnownHosts:
    """Answers only under its own names: a page may have pointed its own at us (DNS rebinding)."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._knows(Headers(scope=scope).get("host")):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            await _misdirected()(scope, receive, send)

    def _knows(self, host: str | None) -> bool:
        """Without a host (HTTP/1.0) no browser asks."""
        return host is None or _hostname(host) in self._hosts


def middleware(origins: Sequence[str], hosts: Sequence[str]) -> list[Middleware]:
    """The headers; CORS for pages of the origins, if any; a check of the host, if hosts are named."""
    found = [Middleware(SecurityHeaders)]
    if hosts:
        found.append(Middleware(KnownHosts, hosts=hosts))
    if origins:
        found.append(_cors(origins))
    return found


def _cors(origins: Sequence[str]) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=REQUEST_HEADERS,
        expose_headers=RESPONSE_HEADERS,
        max_age=PREFLIGHT_SECONDS,
    )


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _misdirected() -> Response:
    return Response(refusal("There is no such host here."), 421, media_type=GRAPHQL_JSON)
