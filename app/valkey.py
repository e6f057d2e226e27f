"""Redis or Valkey: how it is connected to, and what all replicas share there beside the bus."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECTIONS: Final = 5
REST_SECONDS: Final = 1.0
LATE_SECONDS: Final = 0.05
TRIES: Final = 5


@dataclass
class Outage:
    """Whether one use of Redis fails at present; logs when that begins and ends, not in between."""

    what: str
    ongoing: bool = False

    def begin(self, error: Exception) -> None:
        if not self.ongoing:
            unforeseen = not isinstance(error, RedisError | OSError)
            reason = str(error) or type(error).__name__
            log.warning("Redis: %s stopped: %s", self.what, reason, exc_info=unforeseen)
        self.ongoing = True

    def end(self) -> None:
        if self.ongoing:
            log.info("Redis: %s works again", self.what)
        self.ongoing = False


class Valkey:
    """What replicas share. It is asked briefly, and done without while it does not answer.

    Use it as an async context manager; entering succeeds with the server down. Keys begin with `prefix`.
    The server has `wait_seconds` for each answer, and after one that failed none is asked for a second.
    Raises ValueError for an unusable URL.
    """

    def __init__(self, redis_url: str, *, prefix: str, wait_seconds: float) -> None:
        self.pool = _pool(redis_url, wait_seconds)
        self.redis = Redis.from_pool(self.pool)
        self._prefix = prefix
        self._wait_seconds = wait_seconds
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._outage = Outage("limiting rates and keeping documents")
        self._resting_until = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.redis.aclose()

    def key(self, *names: str) -> str:
        """The key of something of this deployment."""
        return ":".join((self._prefix, *names))

    async def ask(self, question: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """What the server answers; `otherwise` while there is no server."""
        # Those who wait for their turn must not run out of time: a flood would pass for an outage.
        async with self._turns:
            if self._now() < self._resting_until:
                return otherwise
            try:
                answer = await self._answer(question)
            except Exception as error:  # noqa: BLE001 - whatever it was, requests must go on
                self._outage.begin(error)
                self._resting_until = self._now() + REST_SECONDS
                return otherwise
        self._outage.end()
        return answer

    async def _answer(self, question: Callable[[], Awaitable[T]]) -> T:
        for _ in range(TRIES):
            until = self._now() + self._wait_seconds
            try:
                async with asyncio.timeout_at(until):
                    return await question()
            except TimeoutError:
                # A timeout that is late itself tells of this process, which was busy, not of the server.
                if self._now() < until + LATE_SECONDS:
                    raise
        raise TimeoutError

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def client(redis_url: str, socket_timeout_seconds: float, retry: Retry, **options: Any) -> Redis:
    """A client that speaks bytes; ValueError for an unusable URL."""
    try:
        return Redis.from_url(redis_url, socket_timeout=socket_timeout_seconds, retry=retry, **options)
    except ValueError:
        raise _unusable() from None


def _pool(redis_url: str, wait_seconds: float) -> BlockingConnectionPool:
    try:
        return BlockingConnectionPool.from_url(
            redis_url,
            max_connections=CONNECTIONS,
            timeout=None,
            # `Valkey` gives up earlier, but Python 3.11's wait_for in redis-py can swallow a cancellation.
            socket_timeout=2 * wait_seconds,
            # A server that was restarted has left dead connections here.
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError:
        raise _unusable() from None


def _unusable() -> ValueError:
    # The original message may quote the password.
    return ValueError("the Redis URL cannot be used: redis[s]://[[user]:password@]host[:port][/db]")
