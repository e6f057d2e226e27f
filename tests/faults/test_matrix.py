"""Whatever fails: every event reaches every subscriber once and in order, and all is as Temporal says."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import httpx
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.servers import Server
from tests.client import Api
from tests.eventually import eventually
from tests.faults.record import Record
from tests.faults.scene import Scene, staged
from tests.faults.sizes import Size
from tests.faults.stack import Stack
from tests.processes.commands import Command
from tests.processes.wire import wired

# Longer than a row: an API still waits for Temporal when it is killed.
PATIENT = {"TEMPORAL_TIMEOUT_SECONDS": "300"}
SERVICE_RESTART = 1012
DRAIN_SECONDS = 10.0


def lasting(size: Size, outage_seconds: float = 0.0) -> float:
    """Seconds that executions take, so that they are at work before, during and after what happens."""
    return outage_seconds + (15.0 if size.full else 3.0)


def apis(stack: Stack) -> list[Api]:
    """The standing replicas: every other subscriber begins at the second one."""
    return [replica.api for replica in stack.replicas]


async def away(scene: Scene, server: Server, seconds: float) -> None:
    """Kill a server and start it again after so long."""
    since = time.time()
    await server.kill()
    await asyncio.sleep(seconds)
    await server.start()
    scene.back(since)


async def test_api_killed_between_insert_and_start(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene, wired(stack.temporal.address) as wire:
        doomed = await stack.serve({"TEMPORAL_ADDRESS": wire.address, **PATIENT})
        wire.requests.clear()
        scene.watch_feed(scene.feeds, *apis(stack))
        starting = asyncio.create_task(scene.start(lasting(size), api=doomed.api, at_once=size.executions))
        await scene.recorded(size.executions, "EXECUTION_CREATED")

        killed = time.time()
        await doomed.killed()

        with pytest.raises(httpx.TransportError):
            await starting
        heir = await stack.serve(port=doomed.api.port)
        scene.back(killed)
        await scene.adopt()
        assert len(scene.executions) == size.executions
        scene.watch_executions(size.subscribers - scene.feeds, *apis(stack))
        await scene.reckon(record, "API killed between insert and start", size.converged_seconds)
        started = scene.latest("EXECUTION_STARTED") - scene.returned
        await heir.killed()
        record.notes.append(
            f"API killed between insert and start: {len(scene.executions)} starts were left, all of them "
            f"taken over by the trackers and told {started:.1f} s after the API's return."
        )
        assert started <= size.converged_seconds


async def test_api_killed_with_live_subscribers(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene:
        replica = stack.replicas[1]
        await scene.crowd(lasting(size), replica.api)

        since = time.time()
        await replica.killed()
        await stack.start_replica(1)

        scene.back(since)
        await scene.reckon(record, "API killed with live subscribers", size.converged_seconds)


async def test_tracker_killed_in_mid_batch(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene:
        await stack.trackers.pop().killed()
        await scene.crowd(lasting(size, 5.0), *apis(stack))

        since = await killed_in_mid_batch(scene, stack.trackers[0])
        await stack.start_tracker(0)

        scene.back(since)
        await scene.reckon(record, "Tracker killed in mid-batch", size.converged_seconds)


async def killed_in_mid_batch(scene: Scene, tracker: Command) -> float:
    """Kill the tracker inside a transaction: its last lock, the feed's, is held from outside."""
    waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')"
    async with scene.stack.database.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM feed WHERE owner_id = $1 FOR UPDATE", scene.owner)
        await eventually(lambda: scene.stack.database.fetchval(waiting), 30)
        await tracker.killed()
    return time.time()


async def test_one_of_two_trackers_killed(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene:
        await scene.crowd(lasting(size, 5.0), *apis(stack))

        since = time.time()
        await stack.trackers.pop(0).killed()

        scene.back(since)
        await scene.reckon(record, "One of two trackers killed, for good", size.converged_seconds)


async def test_redis_restarted(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene:
        await scene.crowd(lasting(size), *apis(stack))

        await away(scene, stack.valkey, 0)

        await scene.reckon(record, "Redis restarted", size.converged_seconds)


async def test_redis_down(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene:
        await scene.crowd(lasting(size, size.outage_seconds), *apis(stack))

        await away(scene, stack.valkey, size.outage_seconds)

        await scene.reckon(record, "Redis down", size.converged_seconds)


async def test_redis_connections_cut(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene:
        await scene.crowd(lasting(size, size.outage_seconds), *apis(stack))

        since = time.time()
        while time.time() - since < size.outage_seconds:
            await cut_connections(stack.valkey.address)
            await asyncio.sleep(0.3)

        scene.back(since)
        await scene.reckon(record, "Redis connections cut, over and over", size.converged_seconds)


async def cut_connections(redis_url: str) -> None:
    """Cut every client of the server but this one."""
    async with Redis.from_url(redis_url) as redis:
        for kind in ("normal", "pubsub"):
            with suppress(RedisError):
                await redis.client_kill_filter(_type=kind, skipme=True)


async def test_postgres_restarted(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene:
        await scene.crowd(lasting(size), *apis(stack))

        await away(scene, stack.postgres, 0)

        await scene.reckon(record, "Postgres killed and restarted", size.converged_seconds)


async def test_temporal_down(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene:
        await scene.crowd(lasting(size, size.outage_seconds), *apis(stack))

        await away(scene, stack.temporal, size.outage_seconds)

        await scene.reckon(
            record, "Temporal down while workers want to go on", size.temporal_converged_seconds
        )


async def test_temporal_down_at_start(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene:
        scene.watch_feed(scene.feeds, *apis(stack))
        since = time.time()
        await stack.temporal.kill()
        await scene.start(lasting(size), at_once=50)
        assert {execution["status"] for execution in scene.executions} == {"PENDING"}
        scene.watch_executions(size.subscribers - scene.feeds, *apis(stack))
        await asyncio.sleep(max(0.0, since + size.outage_seconds - time.time()))
        await stack.temporal.start()

        scene.back(since)
        await scene.reckon(record, "Temporal down at start", size.temporal_converged_seconds)
        started = scene.latest("EXECUTION_STARTED")
        assert started - scene.returned < size.temporal_converged_seconds


async def test_publisher_killed_between_commit_and_publish(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene, muted(stack) as redis_url:
        while stack.trackers:
            await stack.trackers.pop().killed()
        api = await stack.serve({"REDIS_URL": redis_url})
        tracker = await stack.track(REDIS_URL=redis_url)
        scene.watch_feed(scene.feeds, *apis(stack))
        await scene.start(lasting(size), api=api.api)
        scene.watch_executions(size.subscribers - scene.feeds, *apis(stack))
        await scene.recorded(len(scene.executions) * 4)

        since = time.time()
        await api.killed()
        await tracker.killed()

        scene.back(since)
        # Nobody rang for these, and nobody rings for others until they are there.
        await scene.delivered()
        await stack.start_tracker(0)
        line = await scene.reckon(
            record, "Publisher killed between commit and publish", size.converged_seconds
        )
        assert line.backstop > 0


@asynccontextmanager
async def muted(stack: Stack) -> AsyncIterator[str]:
    """The address of a Redis that takes no request: what is committed is never published."""
    address = urlsplit(stack.valkey.address)
    async with wired(f"{address.hostname}:{address.port}") as wire:
        wire.requests.clear()
        yield f"redis://{wire.address}"


async def test_rolling_restart(stack: Stack, size: Size, record: Record) -> None:
    async with staged(stack, size) as scene:
        old, other = stack.replicas
        scene.watch_feed(max(3, size.rolling_subscribers // 20), old.api, other.api)
        await scene.start(lasting(size, 5.0), api=other.api)
        scene.watch_executions(size.rolling_subscribers - len(scene.subscribers), old.api, other.api)
        await eventually(lambda: all(each.connections for each in scene.subscribers), 30)
        there = [each for each in scene.subscribers if each.api == old.api]

        since = time.time()
        old.send(signal.SIGTERM)

        await eventually(lambda: all(each.connections[-1] > since for each in there), size.back_seconds)
        assert await old.ended(DRAIN_SECONDS - (time.time() - since)) == 0
        gone = time.time() - since
        await stack.start_replica(0)
        scene.back(since)
        await scene.reckon(record, "Rolling restart of the API", size.converged_seconds)
        closes = [code for each in there for moment, code in each.closes if since < moment < since + gone]
        assert set(closes) == {SERVICE_RESTART}
        back = max(min(moment for moment in each.connections if moment > since) for each in there) - since
        record.notes.append(
            f"Rolling restart: {len(there)} subscribers closed with {SERVICE_RESTART}, "
            f"all back after {back:.1f} s, the old process gone after {gone:.1f} s."
        )
