"""Connections whose peers must send, and read, in time and within bounds: HTTP/1.1 and WebSocket."""

import asyncio
import logging
from asyncio import AbstractEventLoop, Transport
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import httptools
import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.utils import ClientDisconnected, get_local_addr, get_remote_addr, is_ssl
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request

from app import logs, refusals
from app.exchanges import LAST_CHUNK, Exchange, Header
from app.lines import EXTENSION, Listener
from app.request_ids import note_close

log = logging.getLogger(__name__)

TRY_AGAIN_LATER = 1013
INVALID_DATA = 1007
MAX_REASON_BYTES = 123
MOST_UNREAD_BYTES = 65_536
ASGI = {"version": "3.0", "spec_version": "2.3"}
# For all that hold nothing.
NOTHING_HELD: deque[str | None] = deque(maxlen=0)


@dataclass(frozen=True)
class Bounds:
    """What a peer may take."""

    connections: int
    head_seconds: float
    body_seconds: float
    silence_seconds: float
    linger_seconds: float
    head_bytes: int
    headers: int
    pipelined: int = 16


class Configuration(uvicorn.Config):
    """Uvicorn's, with bounds; the connections of one server share it."""

    def __init__(self, app: ASGIApp, bounds: Bounds, **options: Any) -> None:
        super().__init__(app, http=HttpConnection, ws=SocketConnection, **options)
        self.bounds = bounds
        # Those whose peers have yet to send something, the longest waiting first.
        self.waiting: dict[HttpConnection, None] = {}


class Timer:
    """One call in the future. To put it off, or to stop it, costs nothing: it is looked at when it is due."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._looked_at = self._due = 0.0
        self._call: Callable[[], None] | None = None

    def start(self, seconds: float, call: Callable[[], None]) -> None:
        self._due, self._call = self._loop.time() + seconds, call
        if self._handle is None or self._due < self._looked_at:
            self._look_when_due()

    def stop(self) -> None:
        self._call = None

    def end(self) -> None:
        """Stop for good, and hold nothing any more."""
        self.stop()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look_when_due(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._looked_at = self._due
        self._handle = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._handle = None
        if self._call is not None and self._due > self._looked_at:
            self._look_when_due()
        elif self._call is not None:
            call, self._call = self._call, None
            call()


class Refusal(Exception):
    """What a peer sends is not taken."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Phase(Enum):
    """What a connection waits for."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    RESPONSE = auto()


class HttpConnection(asyncio.Protocol):
    """An HTTP connection: head and body must come in time, the answers must be read in time.

    Where there are too many connections, the one that waits longest for its peer makes room for a new one.
    """

    transport: Transport

    def __init__(
        self,
        config: Configuration,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        self.config = config
        self.loop = _loop or asyncio.get_running_loop()
        self.parser = httptools.HttpRequestParser(self)
        # What comes behind a request that ends its connection is no error of that request.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.writable = asyncio.Event()
        self.writable.set()
        self._app = cast("ASGIApp", config.loaded_app)
        self._app_state = app_state
        self._server = server_state
        self._bounds = config.bounds
        self._deadline, self._stalled, self._closing = (Timer(self.loop) for _ in range(3))
        self._phase = Phase.IDLE
        self._in_head = False
        self._in_message = False
        self._upgrades = False
        self._url = b""
        self._headers: list[Header] = []
        self._head_bytes = 0
        self._unparsed_bytes = 0
        self._reads = True
        self._refused = False
        # The one that is answered, those that wait for that, and the one that comes: the last of them.
        self._running: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._coming: Exchange | None = None

    @property
    def headers_of_all(self) -> Sequence[Header]:
        return self._server.default_headers

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # it is one
        self.transport = transport
        self._addresses = {
            "server": get_local_addr(transport),
            "client": get_remote_addr(transport),
            "scheme": "https" if is_ssl(transport) else "http",
        }
        self._server.connections.add(cast("Any", self))
        if len(self._server.connections) > self._bounds.connections:
            next(iter(self.config.waiting), self).leave()
        if not transport.is_closing():
            self._enter(Phase.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        for exchange in (self._running, *self._queue):
            if exchange is not None:
                exchange.disconnect()
        self._queue.clear()
        self.writable.set()
        self._let_go()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unparsed_bytes += len(data)
        try:
            self.parser.feed_data(data)
            # The parser keeps a header, or a trailer, until it has the whole of it.
            if self._in_message and self._unparsed_bytes > self._bounds.head_bytes:
                raise _head_too_large()
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except Refusal as refusal:
            self._refuse(refusal)
        except httptools.HttpParserError as error:
            self._refuse(_reason(error))
        else:
            self._watch()

    def on_message_begin(self) -> None:
        self._in_head = self._in_message = True
        self._head_bytes = self._unparsed_bytes = 0
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        self._unparsed_bytes = 0
        self._url += url
        if len(self._url) > self._bounds.head_bytes:
            raise Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unparsed_bytes = 0
        # Trailers are no headers of the request, which runs already.
        if self._in_head:
            self._headers.append((name.lower(), value))
            self._head_bytes += len(name) + len(value)
            if len(self._headers) > self._bounds.headers:
                raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "There are too many headers.")
            if self._head_bytes > self._bounds.head_bytes:
                raise _head_too_large()

    def on_headers_complete(self) -> None:
        self._unparsed_bytes = 0
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise Refusal(HTTPStatus.BAD_REQUEST, "This speaks HTTP/1.1.")
        names = [name for name, _ in self._headers]
        if version == "1.1" and names.count(b"host") != 1:
            raise Refusal(HTTPStatus.BAD_REQUEST, "A request must name one host.")
        upgrades = self.parser.should_upgrade()
        if len(self._queue) >= self._bounds.pipelined or (self._responding and upgrades):
            raise Refusal(HTTPStatus.BAD_REQUEST, "Wait for an answer before you ask for more.")
        self._upgrades = upgrades and _is_handshake(self._headers)
        if not self._upgrades:
            self._take(
                Exchange(
                    self,
                    self._scope(version),
                    keeps=version == "1.1" and self.parser.should_keep_alive(),
                    expects=version == "1.1" and b"expect" in names,
                )
            )
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        if self._coming is not None and self._coming.feed(body) > MOST_UNREAD_BYTES and self._reads:
            self._reads = False
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        self._in_message = False
        if self._coming is not None:
            self._coming.end()

    def resume_reading(self) -> None:
        if not self._reads:
            self._reads = True
            self.transport.resume_reading()

    def answered(self, exchange: Exchange) -> None:
        self._server.total_requests += 1
        if not exchange.keeps or self.transport.is_closing():
            self.leave()
            return
        self.resume_reading()
        if self._queue:
            self._begin(self._queue.popleft())
        elif not self._in_message:
            self._enter(Phase.IDLE)

    def pause_writing(self) -> None:
        self.writable.clear()
        self._stalled.start(self._bounds.silence_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self.writable.set()
        self._stalled.stop()

    def shutdown(self) -> None:
        """Leave when all is answered, and break a stream off, so that its client comes back elsewhere."""
        if self._running is None or not self._responding:
            self.transport.close()
        elif self._running.streams:
            self._running.disconnect()
            self.transport.write(LAST_CHUNK)
            self.leave()
        elif self._coming is not None:
            self._coming.keeps = False

    def leave(self) -> None:
        """Close, and wait for the peer to read what it was sent only so long."""
        self._refused = True
        self._forget()
        self.transport.close()
        self._closing.start(self._bounds.linger_seconds, self.transport.abort)

    def _scope(self, version: str) -> Scope:
        address = httptools.parse_url(self._url)
        path = address.path.decode("ascii")
        return {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "method": self.parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": address.path,
            "query_string": address.query or b"",
            "root_path": "",
            "headers": self._headers,
            "state": self._app_state.copy(),
            **self._addresses,
        }

    def _take(self, exchange: Exchange) -> None:
        self._coming = exchange
        if self._responding:
            self._queue.append(exchange)
        else:
            self._begin(exchange)

    def _begin(self, exchange: Exchange) -> None:
        self._running = exchange
        task = self.loop.create_task(exchange.run(self._app))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    @property
    def _responding(self) -> bool:
        return self._running is not None and not self._running.complete

    def _watch(self) -> None:
        """Give the peer a deadline for what it has yet to send."""
        if self._in_message:
            phase = Phase.HEAD if self._in_head else Phase.BODY
        elif self._responding:
            phase = Phase.RESPONSE
        else:
            # Empty lines before a request, or the rest of a body that was answered early.
            phase = Phase.HEAD
        if phase is not self._phase:
            self._enter(phase)

    def _enter(self, phase: Phase) -> None:
        self._forget()
        self._phase = phase
        if phase is not Phase.RESPONSE:
            self.config.waiting[self] = None
        if phase is Phase.HEAD:
            self._deadline.start(self._bounds.head_seconds, self._too_late)
        elif phase is Phase.BODY:
            self._deadline.start(self._bounds.body_seconds, self._too_late)
        elif phase is Phase.IDLE:
            self._deadline.start(self.config.timeout_keep_alive, self.leave)

    def _forget(self) -> None:
        self._deadline.stop()
        self.config.waiting.pop(self, None)

    def _upgrade(self) -> None:
        if not self._upgrades:
            # Whoever offers another protocol can do with this one.
            self._watch()
            return
        self._server.connections.discard(self)
        connection = SocketConnection(
            config=self.config, server_state=self._server, app_state=self._app_state
        )
        connection.connection_made(self.transport)
        connection.data_received(_head(self.parser.get_method(), self._url, self._headers))
        self.transport.set_protocol(connection)
        self._let_go()

    def _let_go(self) -> None:
        self._forget()
        for timer in (self._deadline, self._stalled, self._closing):
            timer.end()
        # What refers to itself would stay until the collector of garbage comes round.
        self.parser = cast("Any", None)
        self._running = self._coming = None

    def _too_late(self) -> None:
        if self._in_message:
            self._refuse(Refusal(HTTPStatus.REQUEST_TIMEOUT, "The request came too slowly."))
        else:
            self.leave()

    def _refuse(self, refusal: Refusal) -> None:
        """Read no more, and say why unless an earlier request's answer is under way."""
        self._refused = True
        self._forget()
        log.info(
            "Refused a connection", extra=logs.fields(status=refusal.status.value, reason=refusal.message)
        )
        running = self._running if self._responding else None
        if running is None and self._in_message and not self._in_head:
            # What is refused is the rest of a body that was answered early.
            pass
        elif running is None or (running.more_body and not running.started):
            if running is not None:
                running.disconnect()
            self.transport.write(_refused(refusal))
        elif not running.more_body:
            self._last().keeps = False
            return
        self.leave()

    def _last(self) -> Exchange:
        """The last request that came whole; the one behind it is forgotten."""
        assert self._running is not None
        if self._queue and self._queue[-1].more_body:
            self._queue.pop()
        return self._queue[-1] if self._queue else self._running


class SocketConnection(WebSocketsSansIOProtocol):
    """A WebSocket whose peer is told what was wrong with its frames, and must read in time.

    It is a line (`app.lines`) in the extensions of its scope: an application that listens to it, and returns,
    has no task for it.
    """

    config: Configuration

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._bounds = self.config.bounds
        self._stalled, self._closing = Timer(self.loop), Timer(self.loop)
        self._fragments = bytearray()
        self._listener: Listener | None = None
        self._context: Context | None = None
        self._holding = False
        self._held: deque[str | None] = NOTHING_HELD
        self._file: int | None = None
        self.close_timeout = self._bounds.linger_seconds

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # it is one
        super().connection_made(transport)
        if not is_ssl(transport):
            self._file = transport.get_extra_info("socket").fileno()

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.close_sent or self.disconnected or self.transport.is_closing()

    @property
    def bare_file(self) -> int | None:
        """The descriptor of the connection where nothing else is written to it, and it is not encrypted."""
        transport = self.transport
        if self.close_sent or transport.is_closing() or transport.get_write_buffer_size():
            return None
        return self._file

    def listen(self, listener: Listener) -> None:
        """Call a listener from now on; what was for the handshake alone is let go."""
        self._listener, self._context = listener, copy_context()
        early, self.queue = self.queue, cast("asyncio.Queue[ASGIReceiveEvent]", Directly(self))
        del self.scope, self.request, self.response
        # Uvicorn closes a socket without this timer when the application returns.
        self.close_timer = self.loop.call_later(0, bool)
        while not early.empty():
            self.queue.put_nowait(early.get_nowait())
        self._resume_reading()

    def offer(self, frame: bytes) -> bool:
        """Send a frame unless the peer has yet to read others, or the line is closed: whether it was sent."""
        if self.closed or not self.writable.is_set():
            return False
        self.transport.write(frame)
        return True

    def say(self, frame: bytes) -> None:
        """Send a frame, unless the line is closed."""
        if not self.closed:
            self.transport.write(frame)

    def hold(self) -> None:
        """Hear nothing until `release`: the peer is kept waiting."""
        self._holding = True

    def release(self) -> None:
        """Hear again, first what was sent since."""
        self._holding = False
        self._hear_held()

    def attend(self, task: "asyncio.Task[Any]") -> None:
        """Have the server wait for a task when it ends."""
        self.tasks.add(task)
        task.add_done_callback(self.on_task_complete)

    def hang_up(self, code: int, reason: str) -> None:
        """Close with a code and a reason, of which as much is sent as fits."""
        if self.closed:
            return
        if self._context is not None:
            self._context.copy().run(note_close, code, reason)
        self.conn.send_close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)
        self._linger(self.close_timeout)
        self._resume_reading()
        self.lose()

    def hear(self, text: str | None) -> None:
        """Hand a message to the listener, or hold it while the peer is kept waiting."""
        if self._holding or self._held or not self.writable.is_set():
            self._held = self._held or deque()
            self._held.append(text)
            self._pause_reading()
        else:
            self._tell(lambda listener: listener.heard(text))

    def lose(self) -> None:
        """Tell the listener that the line is closed, once."""
        self._held = NOTHING_HELD
        self._tell(lambda listener: listener.lost())
        self._listener = self._context = None

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["extensions"][EXTENSION] = cast("dict[object, object]", self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stalled.end()
        self._closing.end()
        super().connection_lost(exc)
        # What refers to itself would stay until the collector of garbage comes round.
        self.conn.parser.close()
        if isinstance(self.queue, Directly):
            self.queue = NOWHERE

    def eof_received(self) -> None:
        """Closed by the peer, who may never read what is left to be sent: nothing more is."""
        self._linger()
        self.lose()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.close_sent:
            self._refuse_handshake()
        if self.transport.is_closing():
            self._linger()

    def handle_cont(self, event: Frame) -> None:
        # Uvicorn would keep each of a message's fragments, be they empty or of one byte.
        self._fragments += event.data
        if event.fin:
            self.frames.append(bytes(self._fragments))
            self._fragments.clear()
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        try:
            text = b"".join(self.frames).decode() if self.curr_msg_data_type == "text" else None
        except UnicodeDecodeError:
            self.frames = []
            self.conn.fail(INVALID_DATA, "A text message must be UTF-8")
            self.handle_parser_exception()
            return
        if self._listener is None:
            super().send_receive_event_to_app()
        else:
            self.frames = []
            self.hear(text)

    def handle_ping(self) -> None:
        pong = b"".join(self.conn.data_to_send())
        # Whoever does not read gets no pongs: they would be kept without bound.
        if self.writable.is_set():
            self.transport.write(pong)

    def keepalive_timeout(self) -> None:
        self.pong_timer = None
        self.pending_ping_payload = None
        self._give_up()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled.start(self._bounds.silence_seconds, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stalled.stop()
        self._hear_held()

    def shutdown(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if self._listener is None and not self.disconnected:
            self._linger(self.close_timeout)

    async def send(self, message: Any) -> None:
        await self.writable.wait()
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)

    def _refuse_handshake(self) -> None:
        """Send what the protocol has written to say so, which uvicorn leaves where it is, or a 400."""
        self.close_sent = self.handshake_complete = True
        refusal = Refusal(HTTPStatus.BAD_REQUEST, "This is no WebSocket handshake.")
        self.transport.write(b"".join(self.conn.data_to_send()) or _refused(refusal))
        self.transport.close()

    def _tell(self, what: Callable[[Listener], None]) -> None:
        if self._listener is not None and self._context is not None:
            # A copy: who is called may call in turn.
            self._context.copy().run(what, self._listener)

    def _hear_held(self) -> None:
        while self._held and not self._holding and self.writable.is_set():
            text = self._held.popleft()
            self._tell(lambda listener, text=text: listener.heard(text))  # type: ignore[misc]  # mypy knows no default
        if not self._held:
            self._held = NOTHING_HELD
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def _give_up(self) -> None:
        """Close for a peer that does not read: 1013, with which clients come back."""
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.fail(TRY_AGAIN_LATER, "You read too slowly")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()
        self._linger()
        self.lose()

    def _linger(self, more_seconds: float = 0.0) -> None:
        self._closing.start(self._bounds.linger_seconds + more_seconds, self.transport.abort)


class Directly:
    """Where uvicorn puts what happens on a socket: its listener is told at once."""

    def __init__(self, connection: SocketConnection | None) -> None:
        self._connection = connection

    def put_nowait(self, event: ASGIReceiveEvent) -> None:
        """Tell of a message, or of the end."""
        if self._connection is None:
            return
        if event["type"] == "websocket.receive":
            self._connection.hear(event.get("text"))
        else:
            self._connection.lose()


NOWHERE = cast("asyncio.Queue[ASGIReceiveEvent]", Directly(None))


def _head_too_large() -> Refusal:
    return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large.")


def _is_handshake(headers: list[Header]) -> bool:
    """Whether who wants another protocol wants WebSocket."""
    named = dict(headers)
    wanted = [word.strip() for word in named.get(b"connection", b"").lower().split(b",")]
    return b"upgrade" in wanted and named.get(b"upgrade", b"").lower() == b"websocket"


def _head(method: bytes, url: bytes, headers: list[Header]) -> bytes:
    """The head of a request, as it came."""
    lines = [b"%b %b HTTP/1.1" % (method, url), *(b"%b: %b" % each for each in headers), b"", b""]
    return b"\r\n".join(lines)


def _reason(error: httptools.HttpParserError) -> Refusal:
    if isinstance(error.__context__, Refusal):
        return error.__context__
    return Refusal(HTTPStatus.BAD_REQUEST, "This is no HTTP request.")


def _refused(refusal: Refusal) -> bytes:
    """A whole response, after which the connection ends."""
    body = refusals.refusal(refusal.message)
    head = (
        f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}\r\n"
        f"content-type: {refusals.GRAPHQL_JSON}\r\n"
        f"content-length: {len(body)}\r\n"
        "x-content-type-options: nosniff\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body
