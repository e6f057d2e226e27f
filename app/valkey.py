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


@dataclass
class Outage:
    """Whether one use of Redis fails at present; logs when that begins and ends, not in between."""

    what: str
    ongoing: bool = False

    def begin(self, error: Exception) -> None:
        if not self.ongoing:
            unforeseen = not isinstance(error, RedisError | OSError)
            log.warning(
                "Redis: %s stopped: %s", self.what, error or type(error).__name__, exc_info=unforeseen
            )
        self.ongoing = True

    def end(self) -> None:
        if self.ongoing:
            log.info("Redis: %s works again", self.what)
        self.ongoing = False


class Valkey:
    """What replicas share. It is asked briefly, and done without while it does not answer.

    Use it as an async context manager; entering succeeds with the server down. Keys begin with `prefix`.
    No question takes longer than `wait_seconds`, and after one that failed none is asked for a second.
    Raises ValueError for an unusable URL.
    """

    def __init__(self, redis_url: str, *, prefix: str, wait_seconds: float) -> None:
        self.pool = _pool(redis_url, wait_seconds)
        self.redis = Redis.from_pool(self.pool)
        self._prefix = prefix
        self._wait_seconds = wait_seconds
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
        now = asyncio.get_running_loop().time
        if now() < self._resting_until:
            return otherwise
        try:
            async with asyncio.timeout(self._wait_seconds):
                answer = await question()
        except Exception as error:  # noqa: BLE001 - whatever it was, requests must go on
            self._outage.begin(error)
            self._resting_until = now() + REST_SECONDS
            return otherwise
        self._outage.end()
        return answer


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
            timeout=wait_seconds,
            socket_timeout=wait_seconds,
            # A server that was restarted has left dead connections here.
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError:
        raise _unusable() from None


def _unusable() -> ValueError:
    # The original message may quote the password.
    return ValueError("the Redis URL cannot be used: redis[s]://[[user]:password@]host[:port][/db]")
