"""Doorbells between processes over Redis pub/sub: a lost message costs latency, never an event."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, Final, Literal, Self, cast

import hiredis
from broadcaster import Broadcast, BroadcastBackend, Event
from broadcaster._base import Subscriber, Unsubscribed
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from app.valkey import Outage, client

log = logging.getLogger(__name__)

BATCH: Final = 500
BACKOFF_BASE_SECONDS: Final = 0.05
PUBLISH_RETRIES: Final = 2


class Gap(Enum):
    """Stands in for messages that may have been missed."""

    GAP = "gap"


GAP: Final = Gap.GAP
SETTLED: Final = asyncio.Event()
SETTLED.set()

NOTHING: Final = object()
PUBLISH: Final = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"

Hear = Callable[[str | Gap], None]
Message = list[Any]
# What is no list answers a command.
Reply = Message | bytes | int | ResponseError


class BusClosed(Exception):
    """The bus, or this subscription of it, is closed: nothing will come any more."""


class GapEvent(Event):
    """What broadcaster carries to every subscriber of a channel that may have missed something."""

    def __init__(self, channel: str) -> None:
        super().__init__(channel, "")


class Subscription:
    """The messages of one channel for one reader, in order."""

    def __init__(self, subscriber: Subscriber, taken: int) -> None:
        self.taken = taken
        self._subscriber = subscriber
        self._ended = False

    async def get(self) -> str | Gap:
        """Wait for the next message; `GAP` says that some before it may be missing.

        For one reader at a time. Raises BusClosed once the bus or the subscription is closed.
        """
        if self._ended:
            raise BusClosed
        event = await self._next_event()
        self.taken += 1
        return GAP if isinstance(event, GapEvent) else event.message

    async def _next_event(self) -> Event:
        try:
            return await self._subscriber.get()
        except Unsubscribed:
            self._ended = True
            raise BusClosed from None


@dataclass(eq=False, slots=True)
class Lane:
    """A channel that has subscribers here, or one who hears its messages at once.

    It is `settled` once none of them needs to wait for the server.
    """

    hear: Hear | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    subscriptions: set[Subscription] = field(default_factory=set)
    emitted: int = 0

    @property
    def waiting(self) -> int:
        return self.emitted - min((each.taken for each in self.subscriptions), default=self.emitted)

    def settle(self) -> None:
        self.settled.set()
        # One of these for each of thousands of lanes would be most of their memory.
        self.settled = SETTLED


class Replies:
    """What a server says, out of its bytes: RESP 2 and 3."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(replyError=ResponseError, notEnoughData=NOTHING)

    def take(self, data: bytes) -> list[Reply]:
        """The replies that are whole with these bytes; raises ProtocolError for what are none."""
        self._reader.feed(data)
        return list(iter(self._reader.gets, NOTHING))


class Ear(asyncio.Protocol):
    """Hears what comes on a connection that a stream was made of, without a turn of the loop in between."""

    def __init__(
        self, take: Callable[[bytes], None], reader: asyncio.StreamReader, transport: asyncio.Transport
    ) -> None:
        self.hung_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._take = take
        self._stream = cast("asyncio.StreamReaderProtocol", transport.get_protocol())
        transport.set_protocol(self)
        # What has come by now; where that is much, the stream has stopped reading.
        buffer: bytearray = cast("Any", reader)._buffer  # noqa: SLF001 - nothing else tells
        early = bytes(buffer)
        buffer.clear()
        transport.resume_reading()
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        # What follows an error is no sign of life: nobody listens any more.
        if self.hung_up.done():
            return
        try:
            self._take(data)
        except Exception as error:  # noqa: BLE001 - who listens is told
            self._end(error)

    def eof_received(self) -> None:
        self._end(ConnectionError("the server hung up"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server hung up"))
        self._stream.connection_lost(exc)

    def pause_writing(self) -> None:
        self._stream.pause_writing()

    def resume_writing(self) -> None:
        self._stream.resume_writing()

    def _end(self, error: Exception) -> None:
        if not self.hung_up.done():
            self.hung_up.set_exception(error)


class Session:
    """One listening connection: keeps what the server sends equal to what is wanted.

    A channel has at most one command under way, so a confirmation always speaks of the latest one.
    """

    def __init__(self, pubsub: PubSub, wanted: Collection[str], quiet_seconds: float) -> None:
        self._pubsub = pubsub
        self._wanted = wanted
        self._quiet_seconds = quiet_seconds
        self._held: set[str] = set()
        self._asked: set[str] = set()
        self._stale = set(wanted)
        self._changed = asyncio.Event()
        self._replies = Replies()
        self._reads = 0

    def holds(self, channel: str) -> bool:
        return channel in self._held and channel not in self._asked

    def touch(self, channel: str) -> None:
        self._stale.add(channel)
        self._changed.set()

    def confirm(self, kind: Literal["subscribe", "unsubscribe"], channel: str) -> None:
        self._asked.discard(channel)
        (self._held.add if kind == "subscribe" else self._held.discard)(channel)
        if (channel in self._held) != (channel in self._wanted):
            self.touch(channel)

    async def open(self) -> None:
        await self._settle()
        await self._pubsub.ping()

    async def follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._settle()

    async def watch(self) -> None:
        """Raise TimeoutError when a silent server does not answer a PING either."""
        while True:
            reads = self._reads
            await asyncio.sleep(self._quiet_seconds)
            if reads == self._reads:
                await self._pubsub.ping()
                await asyncio.sleep(self._quiet_seconds)
                # The answer may have come before the sleep.
                if reads == self._reads:
                    raise TimeoutError("no answer to PING")

    async def listen(self, hear: Callable[[list[Reply]], None]) -> None:
        """Hand over what the server says as it comes; raises ConnectionError when it hangs up."""

        def take(data: bytes) -> None:
            self._reads += 1
            hear(self._replies.take(data))

        # redis-py takes a good part of a millisecond's CPU for each message, and takes them one by one.
        connection: Any = self._pubsub.connection
        await Ear(take, connection._reader, connection._writer.transport).hung_up  # noqa: SLF001 - redis-py hands out neither

    async def _settle(self) -> None:
        while self._stale:
            joining, leaving = self._next_changes()
            if joining:
                await self._pubsub.execute_command("SUBSCRIBE", *map(to_bytes, joining))
            if leaving:
                await self._pubsub.execute_command("UNSUBSCRIBE", *map(to_bytes, leaving))

    def _next_changes(self) -> tuple[list[str], list[str]]:
        names = [self._stale.pop() for _ in range(min(BATCH, len(self._stale)))]
        free = [name for name in names if name not in self._asked]
        joining = [name for name in free if name in self._wanted and name not in self._held]
        leaving = [name for name in free if name in self._held and name not in self._wanted]
        self._asked.update(joining, leaving)
        return joining, leaving


class RedisBackend(BroadcastBackend):
    """A backend for broadcaster that outlives its connections.

    `subscribe` and `unsubscribe` only note what is wanted and never suspend: broadcaster's unlocked
    book-keeping around them is thereby atomic, under concurrency and cancellation alike.
    """

    def __init__(
        self, client: Redis, *, inbox_limit: int, quiet_seconds: float, backoff_cap_seconds: float
    ) -> None:
        self.lanes: dict[str, Lane] = {}
        self.connected = False
        self.sessions = 0
        self.when_heard: Callable[[], object] = bool
        self._client = client
        self._inbox_limit = inbox_limit
        self._quiet_seconds = quiet_seconds
        self._backoff = ExponentialWithJitterBackoff(cap=backoff_cap_seconds, base=BACKOFF_BASE_SECONDS)
        self._failures = 0
        self._outage = Outage("listening")
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self._task = asyncio.create_task(self._run(), name="bus: listen")

    async def disconnect(self) -> None:
        if self._task is not None:
            await stop(self._task)
        self.connected = False
        await self._client.aclose()

    async def subscribe(self, group: str) -> None:
        self.add(group)

    async def unsubscribe(self, group: str) -> None:
        self.remove(group)

    def add(self, channel: str, hear: Hear | None = None) -> Lane:
        lane = self.lanes[channel] = Lane(hear)
        if self._outage.ongoing or (self._session and self._session.holds(channel)):
            lane.settle()
        self._touch(channel)
        return lane

    def remove(self, channel: str) -> None:
        self.lanes.pop(channel).settle()
        self._touch(channel)

    async def publish(self, channel: str, message: Any) -> None:
        raise NotImplementedError("messages go out through the outbox")

    async def next_published(self) -> Event:
        return await self._events.get()

    def _touch(self, channel: str) -> None:
        if self._session is not None:
            self._session.touch(channel)

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - whatever it was, delivery must go on
                self._lose(error)
            await asyncio.sleep(self._pause_seconds())

    def _pause_seconds(self) -> float:
        # redis-py computes 2**failures as a float: an OverflowError after 1,023 failures.
        return self._backoff.compute(min(self._failures, 30))

    async def _listen(self) -> None:
        async with aclosing(self._client.pubsub()) as pubsub:
            self._session = Session(pubsub, self.lanes.keys(), self._quiet_seconds)
            try:
                await self._session.open()
                await run_until_one_fails(
                    self._session.listen(partial(self._hear, self._session)),
                    self._session.follow(),
                    self._session.watch(),
                )
            finally:
                self._session = None

    def _hear(self, session: Session, replies: list[Reply]) -> None:
        for reply in replies:
            self._handle(session, reply)
        self._find()
        self.when_heard()

    def _handle(self, session: Session, reply: Reply) -> None:
        match reply:
            case [b"message", channel, data]:
                self._emit(to_text(channel), decode(data))
            case [b"subscribe" | b"unsubscribe" as word, channel, _]:
                kind: Literal["subscribe", "unsubscribe"] = (
                    "subscribe" if word == b"subscribe" else "unsubscribe"
                )
                session.confirm(kind, to_text(channel))
                self._settle(kind, to_text(channel))
            case ResponseError():
                raise reply

    def _settle(self, kind: Literal["subscribe", "unsubscribe"], channel: str) -> None:
        lane = self.lanes.get(channel)
        if kind == "unsubscribe" or lane is None:
            return
        if lane.settled.is_set():
            self._emit(channel, GAP)
        lane.settle()

    def _emit(self, channel: str, item: str | Gap) -> None:
        lane = self.lanes.get(channel)
        if lane is not None and lane.hear is not None:
            lane.hear(item)
            return
        if lane is None or lane.waiting > self._inbox_limit:
            return
        full = lane.waiting == self._inbox_limit
        lane.emitted += 1
        self._events.put_nowait(GapEvent(channel) if item is GAP or full else Event(channel, item))

    def _find(self) -> None:
        if self.connected:
            return
        self.connected = True
        self.sessions += 1
        self._failures = 0
        self._outage.end()

    def _lose(self, error: Exception) -> None:
        self.connected = False
        self._failures += 1
        self._outage.begin(error)
        for lane in self.lanes.values():
            lane.settle()


class Outbox:
    """What is published, in order: it waits to be written, then for its answer, or to be given up."""

    _loop: asyncio.AbstractEventLoop
    _first_answer: asyncio.Future[None]

    def __init__(self, client: Redis, *, limit: int, publish_timeout_seconds: float) -> None:
        self.dropped = 0
        self.outage = Outage("publishing")
        pool: Any = client.connection_pool
        self._connection = pool.make_connection()
        self._retry = Retry(ExponentialWithJitterBackoff(base=BACKOFF_BASE_SECONDS), PUBLISH_RETRIES)
        self._limit = limit
        self._timeout_seconds = publish_timeout_seconds
        self._waiting: deque[bytes] = deque()
        self._written: deque[bytes] = deque()
        self._empty = asyncio.Event()
        self._empty.set()
        self._is_needed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._replies = Replies()
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="bus: publish")

    async def close(self) -> None:
        if self._task is not None:
            await stop(self._task)
        self._drop_all()
        await self._hang_up()

    def put(self, channel: bytes, message: bytes) -> None:
        if len(self._waiting) + len(self._written) >= self._limit:
            self.dropped += 1
            return
        if not self._waiting:
            # Once for all that is published in this turn of the loop.
            self._loop.call_soon(self._write)
        self._waiting.append(PUBLISH % (len(channel), channel, len(message), message))
        self._empty.clear()

    async def flush(self) -> None:
        await self._empty.wait()

    def _write(self) -> None:
        """Send what waits, as much of it as may be under way at once; or have a connection made for it."""
        if not self._waiting:
            return
        if self._transport is None:
            self._is_needed.set()
            return
        if not self._written:
            self._heard_at = self._loop.time()
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH - len(self._written)))]
        self._written += batch
        self._transport.write(b"".join(batch))

    def _take(self, data: bytes) -> None:
        answers = [each for each in self._replies.take(data) if not isinstance(each, list)]
        if not answers:
            return
        self._heard_at = self._loop.time()
        for _ in answers:
            self._written.popleft()
        self._count_refused(answers)
        if not self._first_answer.done():
            self._first_answer.set_result(None)
        if self._waiting:
            self._write()
        elif not self._written:
            self._empty.set()

    def _count_refused(self, answers: Sequence[bytes | int | ResponseError]) -> None:
        errors = [answer for answer in answers if isinstance(answer, ResponseError)]
        self.dropped += len(errors)
        if errors:
            self.outage.begin(errors[0])
        else:
            self.outage.end()

    async def _run(self) -> None:
        """Connect when something waits for it, and give up what the server does not answer."""
        while True:
            try:
                if await self._needs_connection():
                    async with asyncio.timeout(self._timeout_seconds):
                        await self._retry.call_with_retry(self._connect, self._hang_up)
            except Exception as error:  # noqa: BLE001 - whatever it was, what comes next must go out
                self.outage.begin(error)
                self._drop_all()

    async def _needs_connection(self) -> bool:
        """Whether one is needed, now or in a while; raises TimeoutError where the server is silent."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._is_needed.wait()
        except TimeoutError:
            if self._written and self._loop.time() > self._heard_at + self._timeout_seconds:
                raise
        return self._is_needed.is_set()

    async def _connect(self) -> None:
        """Send what waits over a new connection; raises RedisError where it is lost before an answer."""
        await self._hang_up()
        await self._connection.connect()
        # redis-py takes ten times the CPU for an answer.
        reader, writer = self._connection._reader, self._connection._writer  # noqa: SLF001 - it hands out neither
        self._replies, self._transport = Replies(), writer.transport
        self._is_needed.clear()
        self._first_answer = self._loop.create_future()
        ear = Ear(self._take, reader, writer.transport)
        ear.hung_up.add_done_callback(partial(self._lose, writer.transport))
        self._write()
        await self._first_answer

    def _lose(self, transport: asyncio.Transport, hung_up: asyncio.Future[None]) -> None:
        error = hung_up.exception()
        if transport is not self._transport:
            return
        self._forget()
        if not self._first_answer.done():
            self._first_answer.set_exception(RedisConnectionError(str(error)))
        elif self._waiting:
            self._is_needed.set()

    async def _hang_up(self, _: object = None) -> None:
        """So that no answer is taken for that to a later command."""
        self._forget()
        await self._connection.disconnect()

    def _forget(self) -> None:
        """Let go of the connection: what was written, but not answered, waits again."""
        self._transport = None
        self._waiting.extendleft(reversed(self._written))
        self._written.clear()

    def _drop_all(self) -> None:
        self._forget()
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._is_needed.clear()
        self._empty.set()


class Bus:
    """Redis pub/sub that never gets in the way: publishing cannot fail, subscriptions outlive outages.

    Use it as an async context manager; entering succeeds with Redis down. Channels begin with `prefix`,
    since pub/sub ignores the database number of the URL. Settings of time are in seconds:
    `socket_timeout_seconds` bounds connecting and each write, `confirm_timeout_seconds` the wait for the
    server's word on a subscription, `publish_timeout_seconds` that for its word on what is published, and
    for a new connection, `flush_timeout_seconds` the outbox at closing; after `quiet_seconds` of silence the
    server is asked for a sign of life and has as long again to give it.

    Raises ValueError for an unusable URL.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        prefix: str = "temporal-graphql",
        outbox_limit: int = 10_000,
        inbox_limit: int = 1_000,
        socket_timeout_seconds: float = 5.0,
        confirm_timeout_seconds: float = 1.0,
        publish_timeout_seconds: float = 2.0,
        flush_timeout_seconds: float = 1.0,
        quiet_seconds: float = 5.0,
        backoff_cap_seconds: float = 2.0,
    ) -> None:
        self._prefix = prefix
        self._confirm_timeout_seconds = confirm_timeout_seconds
        self._flush_timeout_seconds = flush_timeout_seconds
        self._backend = RedisBackend(
            plain_client(redis_url, socket_timeout_seconds),
            inbox_limit=inbox_limit,
            quiet_seconds=quiet_seconds,
            backoff_cap_seconds=backoff_cap_seconds,
        )
        self._broadcast = Broadcast(backend=self._backend)
        self._outbox = Outbox(
            plain_client(redis_url, socket_timeout_seconds),
            limit=outbox_limit,
            publish_timeout_seconds=publish_timeout_seconds,
        )
        self._exit = AsyncExitStack()
        self._subscribed: set[AsyncExitStack] = set()
        self._running = False

    async def __aenter__(self) -> Self:
        await self._exit.enter_async_context(self._broadcast)
        self._outbox.open()
        for step in (self._outbox.close, self._end_subscriptions, self.flush):
            self._exit.push_async_callback(step)
        self._running = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        await self._exit.aclose()

    @property
    def dropped(self) -> int:
        """Messages that were not published: Redis was down or refused them, or the outbox was full."""
        return self._outbox.dropped

    @property
    def reconnects(self) -> int:
        """How often listening was taken up again after the first time."""
        return max(0, self._backend.sessions - 1)

    @property
    def connected(self) -> bool:
        """Whether the server is being listened to."""
        return self._backend.connected

    @property
    def healthy(self) -> bool:
        """Whether listening works and the last messages, if any, were published."""
        return self._backend.connected and not self._outbox.outage.ongoing

    def publish(self, channel: str, message: str) -> None:
        """Have a message sent, in order; counted in `dropped` where that is impossible.

        Never waits and never fails. What is sent again over a new connection may arrive twice.
        """
        if self._running:
            self._outbox.put(to_bytes(self._name(channel)), to_bytes(message))
        else:
            self._outbox.dropped += 1

    async def flush(self) -> None:
        """Wait until what was published is sent or dropped, at most `flush_timeout_seconds`."""
        try:
            async with asyncio.timeout(self._flush_timeout_seconds):
                await self._outbox.flush()
        except TimeoutError:
            log.warning("Redis: messages left unpublished")

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[Subscription]:
        """Receive what is published to a channel from now on.

        Returns once the server confirmed; when it cannot, after a bounded wait, and `GAP` is the first
        thing received when it can again. Raises BusClosed outside the bus's context.
        """
        if not self._running:
            raise BusClosed
        async with AsyncExitStack() as stack:
            subscription = await self._join(stack, self._name(channel))
            await self._wait_until_settled(self._backend.lanes[self._name(channel)])
            yield subscription

    def when_heard(self, call: Callable[[], object]) -> None:
        """Call this whenever all that came at once has been handed over to those who listen."""
        self._backend.when_heard = call

    def listen(self, channel: str, hear: Hear) -> None:
        """Have what is published to a channel handed over as it comes, until `ignore`.

        For one listener of a channel, which must not raise. What cannot be confirmed yet is as in
        `subscribe`. Raises BusClosed outside the bus's context.
        """
        if not self._running:
            raise BusClosed
        self._backend.add(self._name(channel), hear)

    def ignore(self, channel: str) -> None:
        """Listen to a channel no longer."""
        self._backend.remove(self._name(channel))

    async def settled(self, channels: Iterable[str]) -> None:
        """Return once the server confirmed those that are listened to; after a bounded wait otherwise."""
        known = [self._backend.lanes.get(self._name(channel)) for channel in channels]
        await self._wait_until_settled(*filter(None, known))

    async def _join(self, stack: AsyncExitStack, name: str) -> Subscription:
        subscriber = await stack.enter_async_context(self._broadcast.subscribe(name))
        lane = self._backend.lanes[name]
        subscription = Subscription(subscriber, taken=lane.emitted)
        lane.subscriptions.add(subscription)
        stack.callback(lane.subscriptions.discard, subscription)
        self._subscribed.add(stack)
        stack.callback(self._subscribed.discard, stack)
        return subscription

    async def _wait_until_settled(self, *lanes: Lane) -> None:
        try:
            async with asyncio.timeout(self._confirm_timeout_seconds):
                for lane in lanes:
                    await lane.settled.wait()
        except TimeoutError:
            for lane in lanes:
                lane.settle()

    async def _end_subscriptions(self) -> None:
        for stack in list(self._subscribed):
            await stack.aclose()

    def _name(self, channel: str) -> str:
        return f"{self._prefix}:{channel}"


def plain_client(redis_url: str, socket_timeout_seconds: float) -> Redis:
    """A client that retries nothing: a reconnect it hid would be a gap nobody hears of."""
    return client(redis_url, socket_timeout_seconds, Retry(NoBackoff(), 0, supported_errors=()))


async def run_until_one_fails(*coroutines: Any) -> None:
    """Run all of them until one raises; the others are stopped then."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        await stop(*tasks)


async def stop(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks until they have ended, even where whoever waits for that is cancelled too."""
    cancelled: asyncio.CancelledError | None = None
    # Python 3.11's wait_for, which redis-py uses, can swallow a cancellation: repeat it.
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=1)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def to_bytes(text: str) -> bytes:
    """Any text as bytes: a channel may be named after what is no UTF-8."""
    return text.encode(errors="surrogatepass")


def to_text(name: bytes) -> str:
    """The text that `to_bytes` turned into these bytes."""
    return name.decode(errors="surrogatepass")


def decode(payload: bytes) -> str | Gap:
    """A message as text; `GAP` for what is none."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return GAP
