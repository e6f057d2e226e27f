"""An HTTP request as it comes, and a response that is sent whole."""

from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from schema.negotiation import Refused


class Request:
    """The head of a request, and its body when that is asked for."""

    __slots__ = ("_headers", "_receive", "method", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        # Of one that is repeated the first counts, as it does for most who stand in front of this.
        self._headers: dict[bytes, bytes] = dict(scope["headers"][::-1])
        self._receive = receive

    def header(self, name: bytes) -> str:
        """The value of a header, empty where there is none."""
        return self._headers.get(name, b"").decode("latin-1")

    def parameters(self) -> dict[str, str]:
        """What follows the address."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    async def body(self, max_bytes: int) -> bytearray:
        """The body, whatever length it claims; raises Refused (413) above the limit, told or met."""
        told = self.header(b"content-length")
        if told.isdigit() and int(told) > max_bytes:
            raise _too_large(max_bytes)
        body, more = bytearray(), True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Refused(HTTPStatus.BAD_REQUEST, "The request was cut off.")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
        return body


class Answer:
    """A response of JSON."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, body: bytes, media_type: str, status: int = HTTPStatus.OK) -> None:
        self._body = body
        self._status = status
        self._headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", b"%d" % len(body)),
        ]

    def retry_after(self, seconds: int) -> None:
        """Say when to come back."""
        self._headers.append((b"retry-after", b"%d" % seconds))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


def _too_large(max_bytes: int) -> Refused:
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A request may have {max_bytes:,} bytes at most.")
