"""Many WebSocket clients in one loop without a library: they must cost less than any server.

An event carries the time of its publication, which the frame shows: `@` and 19 digits of nanoseconds.
"""

import base64
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.load import HEAD_END, HOST

AT_ONCE = 50
PATIENCE_SECONDS, AGAIN_SECONDS, QUIET_SECONDS = 120.0, 10.0, 0.5
BUFFER_BYTES = 262_144
LOOK_SECONDS = 0.001
STAMP_DIGITS = 19
NANOSECONDS = 1e9

TEXT, PING, PONG, CLOSE = 0x81, 0x89, 0x8A, 0x88
SHORT, TWO_BYTES, MASKED = 126, 0x7E, 0x80
# A mask of zeros is a mask, and leaves the text as it is.
MASK = bytes(4)


class Silence(Exception):
    """A server let a client wait for too long, or hung up."""


@dataclass(frozen=True)
class Greeting:
    """How a client begins: what it asks for, and its messages, each after the server's word on the last."""

    path: str
    protocol: str | None = None
    messages: Sequence[str] = ()

    @property
    def steps(self) -> list[bytes]:
        lines = [
            f"GET {self.path} HTTP/1.1",
            f"Host: {HOST}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
        ]
        if self.protocol:
            lines.append(f"Sec-WebSocket-Protocol: {self.protocol}")
        return [
            "\r\n".join(lines).encode() + HEAD_END,
            *(_frame(TEXT, each.encode()) for each in self.messages),
        ]


@dataclass
class Delivered:
    """What arrived after how many seconds, of how many that were expected; what comes twice counts once."""

    expected: int
    lags_seconds: list[float] = field(default_factory=list)
    _seen: set[tuple[int, bytes]] = field(default_factory=set)

    @property
    def missed(self) -> int:
        return self.expected - len(self.lags_seconds)

    def note(self, client: int, frame: bytes, moment: int) -> None:
        """Count what a client got at a moment, by the clock in nanoseconds."""
        place = frame.index(b"@") + 1
        published = frame[place : place + STAMP_DIGITS]
        if (client, published) not in self._seen:
            self._seen.add((client, published))
            self.lags_seconds.append((moment - int(published)) / NANOSECONDS)


class Member:
    """One client."""

    def __init__(self, connection: socket.socket, steps: list[bytes]) -> None:
        self.connection = connection
        self.steps = steps
        self.upgraded = False
        self.rest = b""

    def step(self) -> None:
        """Send the next of what a client begins with."""
        self.connection.sendall(self.steps.pop(0))


class Publisher:
    """Publishes to Redis, over a socket of its own."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection((HOST, port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def publish(self, channel: str, text: str) -> None:
        name, payload = channel.encode(), text.encode()
        self._connection.sendall(
            b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(payload), payload)
        )

    def drain(self) -> None:
        """Read what Redis answered: nobody needs it, but it must not pile up."""
        try:
            while self._connection.recv(BUFFER_BYTES, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        self._connection.close()


class Crowd:
    """Clients of one server. Made by `crowded`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._poll = select.epoll()
        self._members: dict[int, Member] = {}

    def open(self, greetings: Sequence[Greeting]) -> None:
        """Connect and greet; returns when every client has said all that it begins with. Raises Silence."""
        waiting = iter(greetings)
        under_way = set[int]()
        while True:
            while len(under_way) < AT_ONCE and (greeting := next(waiting, None)):
                under_way.add(self._connect(greeting))
            if not under_way:
                return
            for file, _ in self._wait():
                self._read(file)
                if not self._members[file].steps:
                    under_way.discard(file)

    def _connect(self, greeting: Greeting) -> int:
        connection = socket.create_connection((HOST, self._port))
        member = Member(connection, greeting.steps)
        self._members[connection.fileno()] = member
        self._poll.register(connection, select.EPOLLIN | select.EPOLLET)
        member.step()
        return connection.fileno()

    def close(self) -> None:
        """Hang up, all at once."""
        for member in self._members.values():
            member.connection.close()
        self._members.clear()
        self._poll.close()

    def wake(self, publish: Callable[[], None]) -> None:
        """Publish, and again after a while, until every client has got an event; then wait for quiet.

        Raises Silence.
        """
        silent, again, deadline = set(self._members), 0.0, time.monotonic() + PATIENCE_SECONDS
        while silent:
            if (now := time.monotonic()) > deadline:
                raise Silence(f"{len(silent):,} of {len(self._members):,} clients never get anything")
            if now >= again:
                publish()
                again = now + AGAIN_SECONDS
            silent -= {file for file, _ in self._poll.poll(QUIET_SECONDS, BUFFER_BYTES) if self._read(file)}
        while found := self._poll.poll(QUIET_SECONDS, BUFFER_BYTES):
            for file, _ in found:
                self._read(file)

    def receive(self, expected: int, seconds: float, publish: Callable[[], int]) -> Delivered:
        """Publish as long as there is something to publish, until all of it is here, or for so long after.

        `publish` sends what is due and says in how many milliseconds it wants to be called again, and
        0 when it is done.
        """
        delivered = Delivered(expected)
        pause = publish()
        deadline = time.monotonic() + seconds
        while pause or (len(delivered.lags_seconds) < expected and time.monotonic() < deadline):
            for file, _ in self._poll.poll(0.001 * (pause or 10), BUFFER_BYTES):
                for frame in self._read(file):
                    delivered.note(file, frame, time.monotonic_ns())
            if pause and (pause := publish()):
                deadline = time.monotonic() + seconds
        return delivered

    def fan_out(self, seconds: float, publish: Callable[[], None]) -> Delivered:
        """Publish, and wait until each client has got it, or for so long.

        What counts is when it has come, not when it is read: reading it here would take longer than sending.
        It is looked for every millisecond: a client that waits would have to be woken by each thing sent.
        """
        delivered, came = Delivered(len(self._members)), dict[int, int]()
        publish()
        deadline = time.monotonic() + seconds
        while len(came) < delivered.expected and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            found = self._poll.poll(0, BUFFER_BYTES)
            moment = time.monotonic_ns()
            for file, _ in found:
                came.setdefault(file, moment)
        for file, moment in came.items():
            for frame in self._read(file):
                delivered.note(file, frame, moment)
        return delivered

    def _wait(self) -> Sequence[tuple[int, int]]:
        found = self._poll.poll(PATIENCE_SECONDS)
        if not found:
            raise Silence(f"{len(self._members):,} clients: a server does not answer")
        return found

    def _read(self, file: int) -> Sequence[bytes]:
        """The texts of events that a client has got; what belongs to the greeting is answered."""
        member = self._members[file]
        data = member.connection.recv(BUFFER_BYTES)
        if not data:
            raise Silence("a server hung up")
        if member.upgraded and not member.steps and not member.rest and _is_one_event(data):
            return (data,)
        return list(self._texts(member, member.rest + data))

    def _texts(self, member: Member, data: bytes) -> Iterator[bytes]:
        if not member.upgraded:
            head, found, data = data.partition(HEAD_END)
            if not found:
                member.rest = head
                return
            if b" 101 " not in head:
                raise Silence(head.decode())
            member.upgraded = True
            if member.steps:
                member.step()
        while (size := _size(data)) and len(data) >= size:
            yield from self._text(member, data[:size])
            data = data[size:]
        member.rest = data

    def _text(self, member: Member, frame: bytes) -> Iterator[bytes]:
        if frame[0] == PING:
            member.connection.sendall(_frame(PONG, frame[2:]))
        elif frame[0] == CLOSE:
            raise Silence(f"a server closed: {frame[2:]!r}")
        elif member.steps:
            member.step()
        elif b"@" in frame:
            yield frame
        elif b"error" in frame:
            raise Silence(frame.decode(errors="replace"))


@contextmanager
def crowded(port: int, greetings: Sequence[Greeting]) -> Iterator[Crowd]:
    """Clients that have said all they begin with; they hang up at the end. Raises Silence."""
    crowd = Crowd(port)
    try:
        crowd.open(greetings)
        yield crowd
    finally:
        crowd.close()


def stamp() -> str:
    """What an event carries for its lag to be known."""
    return f"@{time.monotonic_ns():0{STAMP_DIGITS}}"


def _frame(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < SHORT:
        return bytes((kind, MASKED | size)) + MASK + payload
    return bytes((kind, MASKED | TWO_BYTES)) + size.to_bytes(2, "big") + MASK + payload


def _is_one_event(data: bytes) -> bool:
    return data[0] == TEXT and _size(data) == len(data) and b"@" in data


def _size(data: bytes) -> int:
    """How long the first frame is with its head; 0 where that is not known yet."""
    if len(data) < 2:  # noqa: PLR2004 - the shortest frame
        return 0
    if data[1] < SHORT:
        return 2 + data[1]
    if data[1] > TWO_BYTES:
        raise Silence("a frame is larger than any event")
    return 4 + int.from_bytes(data[2:4], "big") if len(data) >= 4 else 0  # noqa: PLR2004 - its head
