"""Many subscriptions opened at once cost one subscription on Redis and a bounded number of statements."""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack

import httpx
from redis.asyncio import Redis

from tests.client import Socket
from tests.eventually import eventually
from tests.faults.load import Load, loaded
from tests.faults.record import Record
from tests.faults.sizes import Size
from tests.faults.stack import Stack

SOCKETS = 4
# The head of the feed, the backstop's round every few seconds, and the pool's pings before each.
ALLOWED_STATEMENTS = 50
QUERY = "subscription { executionFeed { cursor version } }"


async def test_a_storm_of_subscriptions(stack: Stack, size: Size, record: Record) -> None:
    each = size.storm_subscriptions // SOCKETS
    async with (
        AsyncExitStack() as exits,
        loaded(stack, MAX_OPERATIONS_PER_SOCKET=str(each)) as load,
        Redis.from_url(stack.valkey.address) as redis,
    ):
        sockets = [await exits.enter_async_context(load.user.socket()) for _ in range(SOCKETS)]
        calls, statements = await subscribe_calls(redis), stack.statements_logged()

        began = time.monotonic()
        await asyncio.gather(*(subscribe(socket, each) for socket in sockets))
        await eventually(lambda: opened(load, size.storm_subscriptions), 60)
        seconds = time.monotonic() - began

        assert await subscribe_calls(redis) - calls == 1
        channel = f"{load.redis_prefix}:feed:reader"
        assert await redis.pubsub_numsub(channel) == [(channel.encode(), 1)]
        cost = stack.statements_logged() - statements
        assert cost <= ALLOWED_STATEMENTS, cost
        await load.writer.write(1)
        for socket in sockets:
            assert await received(socket, each) == Counter({str(place): 1 for place in range(each)})
    record.notes.append(
        f"Subscribe storm: {size.storm_subscriptions:,} subscriptions of one owner opened in {seconds:.1f} s "
        f"cost one subscription on Redis and {cost} statements on Postgres; the next event reached each once."
    )


async def subscribe(socket: Socket, count: int) -> None:
    for place in range(count):
        await socket.subscribe(str(place), QUERY)


async def received(socket: Socket, count: int) -> Counter[str]:
    """The operations to which the next results belong."""
    return Counter([(await socket.receive(60))["id"] for _ in range(count)])


async def opened(load: Load, count: int) -> bool:
    """Whether the replica serves so many subscriptions."""
    async with httpx.AsyncClient(verify=False) as client:
        text = (await client.get(load.replica.api.url.replace("/graphql", "/metrics"))).text
    return f"\nsubscriptions {float(count)}" in text


async def subscribe_calls(redis: Redis) -> int:
    """How often the server was asked to subscribe."""
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_subscribe", {}).get("calls", 0))
