import asyncio
import inspect
import logging
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.backoff import ExponentialWithJitterBackoff

from app.bus import BATCH, GAP, Bus, BusClosed, Gap, Subscription, stop
from app.servers import Server, valkey
from tests.eventually import eventually

WAIT_SECONDS = 10


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A Valkey of the test's own: it will be killed."""
    server = valkey(tmp_path, durable=False)
    await server.start()
    yield server
    await server.kill()


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.address) as client:
        yield client


@pytest.fixture(params=[2, 3])
def url(server: Server, request: pytest.FixtureRequest) -> str:
    """The address in both versions of the protocol."""
    return f"{server.address}/0?protocol={request.param}"


@pytest.fixture
async def bus(url: str) -> AsyncIterator[Bus]:
    async with impatient(url) as bus:
        yield bus


def impatient(url: str, **settings: float) -> Bus:
    """A bus that is soon back, and takes a busy machine for no outage."""
    limits = {
        "socket_timeout_seconds": 10.0,
        "quiet_seconds": 5.0,
        "confirm_timeout_seconds": 60.0,
        "backoff_cap_seconds": 0.1,
    }
    return Bus(url, prefix="test", **{**limits, **settings})  # type: ignore[arg-type] # floats only


async def get(subscription: Subscription) -> str | Gap:
    async with asyncio.timeout(WAIT_SECONDS):
        return await subscription.get()


async def take(subscription: Subscription, count: int) -> list[str | Gap]:
    return [await get(subscription) for _ in range(count)]


async def channels(admin: Redis) -> set[bytes]:
    return {name for name in await admin.pubsub_channels() if isinstance(name, bytes)}


async def no_channels(admin: Redis) -> bool:
    return await channels(admin) == set()


async def assert_rings(bus: Bus, subscription: Subscription, channel: str) -> None:
    bus.publish(channel, "marker")
    assert await get(subscription) == "marker"


@contextmanager
def suspended(server: Server) -> Iterator[None]:
    """The server keeps its connections but answers nothing, as behind a broken network."""
    assert server.pid
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def test_messages_arrive_in_order(bus: Bus) -> None:
    sent = [str(number) for number in range(900)]

    async with bus.subscribe("a") as subscription:
        for message in sent:
            bus.publish("a", message)

        assert await take(subscription, len(sent)) == sent
    assert (bus.dropped, bus.reconnects, bus.healthy) == (0, 0, True)


async def test_messages_of_other_channels_and_prefixes_stay_out(bus: Bus, url: str) -> None:
    async with Bus(url, prefix="other") as other, bus.subscribe("a") as subscription:
        other.publish("a", "another deployment")
        await other.flush()
        bus.publish("b", "another channel")

        await assert_rings(bus, subscription, "a")


async def test_a_message_of_one_process_reaches_another(bus: Bus, url: str) -> None:
    async with impatient(url) as other, other.subscribe("a") as subscription:
        bus.publish("a", "héllo ✓ \0 \r\n")

        assert await get(subscription) == "héllo ✓ \0 \r\n"


async def test_concurrent_subscribers_of_one_channel_all_receive(bus: Bus, admin: Redis) -> None:
    async with AsyncExitStack() as stack:
        entering = [stack.enter_async_context(bus.subscribe("a")) for _ in range(10)]
        subscriptions = await asyncio.gather(*entering)

        bus.publish("a", "x")

        assert [await get(each) for each in subscriptions] == ["x"] * 10
        assert await admin.pubsub_numsub("test:a") == [(b"test:a", 1)]
    await eventually(lambda: no_channels(admin))


async def test_the_last_subscriber_to_leave_unsubscribes(bus: Bus, admin: Redis) -> None:
    async with bus.subscribe("a") as first:
        async with bus.subscribe("a"):
            pass

        await assert_rings(bus, first, "a")
        assert await channels(admin) == {b"test:a"}
    await eventually(lambda: no_channels(admin))


async def test_leaving_and_coming_back_at_once_keeps_receiving(bus: Bus) -> None:
    for number in range(100):
        async with bus.subscribe("a") as subscription:
            bus.publish("a", str(number))

            assert await get(subscription) == str(number)


async def test_coming_back_waits_until_the_leaving_is_done(url: str, server: Server, admin: Redis) -> None:
    async with impatient(url, quiet_seconds=30) as bus, AsyncExitStack() as stack:
        async with bus.subscribe("a"):
            session = bus._backend._session
            assert session
        with suspended(server):
            await eventually(lambda: "test:a" in session._asked)
            entering = asyncio.create_task(stack.enter_async_context(bus.subscribe("a")))
            await eventually(lambda: "test:a" in bus._backend.lanes)
            assert not bus._backend.lanes["test:a"].settled.is_set()

        await entering
        assert await channels(admin) == {b"test:a"}


async def test_subscribing_waits_for_the_server(bus: Bus, admin: Redis) -> None:
    async with bus.subscribe("a"):
        assert await channels(admin) == {b"test:a"}


async def test_a_killed_connection_is_a_gap_and_then_goes_on(bus: Bus, admin: Redis) -> None:
    async with bus.subscribe("a") as subscription:
        await admin.client_kill_filter(_type="pubsub")

        assert await get(subscription) is GAP
        await assert_rings(bus, subscription, "a")
    assert bus.reconnects == 1


async def test_killed_connections_of_every_kind_are_survived(bus: Bus, admin: Redis) -> None:
    async with bus.subscribe("a") as subscription:
        await assert_rings(bus, subscription, "a")

        for kind in ("pubsub", "normal"):
            await admin.client_kill_filter(_type=kind, skipme=True)

        assert await get(subscription) is GAP
        await assert_rings(bus, subscription, "a")
    assert bus.dropped == 0


async def test_a_restarted_server_is_a_gap_and_then_goes_on(bus: Bus, server: Server) -> None:
    async with bus.subscribe("a") as subscription:
        await server.kill()
        await eventually(lambda: not bus.connected)
        await server.start()

        assert await get(subscription) is GAP
        await assert_rings(bus, subscription, "a")
    assert bus.healthy


async def test_the_server_may_come_later(server: Server) -> None:
    await server.kill()

    async with impatient(server.address) as bus, AsyncExitStack() as stack:
        async with asyncio.timeout(5):
            subscription = await stack.enter_async_context(bus.subscribe("a"))
        assert not bus.connected
        await server.start()

        assert await get(subscription) is GAP
        await assert_rings(bus, subscription, "a")
        assert bus.reconnects == 0


async def test_a_silent_server_is_noticed_and_left(url: str, server: Server) -> None:
    hasty = impatient(url, socket_timeout_seconds=1.0, quiet_seconds=0.3)
    async with hasty as bus, bus.subscribe("a") as subscription:
        with suspended(server):
            await eventually(lambda: not bus.connected)

        assert await get(subscription) is GAP
        await assert_rings(bus, subscription, "a")


async def test_a_quiet_connection_is_kept(url: str, admin: Redis) -> None:
    async with impatient(url, quiet_seconds=0.5) as bus, bus.subscribe("a") as subscription:
        await eventually(lambda: pinged(admin, times=5))

        await assert_rings(bus, subscription, "a")
        assert bus.reconnects == 0


async def pinged(admin: Redis, times: int) -> bool:
    statistics = await admin.info("commandstats")
    return bool(statistics.get("cmdstat_ping", {}).get("calls", 0) > times)


async def test_subscribing_to_a_silent_server_is_bounded(url: str, server: Server) -> None:
    async with impatient(url, confirm_timeout_seconds=0.1, quiet_seconds=30) as bus:
        await eventually(lambda: bus.connected)
        with suspended(server):
            async with asyncio.timeout(5), bus.subscribe("a") as subscription:
                pass
        bus._confirm_timeout_seconds = WAIT_SECONDS
        async with bus.subscribe("a") as subscription:
            await assert_rings(bus, subscription, "a")


async def test_a_confirmation_that_comes_too_late_is_a_gap(url: str, server: Server) -> None:
    async with (
        impatient(url, confirm_timeout_seconds=0.1, quiet_seconds=30) as bus,
        AsyncExitStack() as stack,
    ):
        await eventually(lambda: bus.connected)
        with suspended(server):
            subscription = await stack.enter_async_context(bus.subscribe("a"))

        assert await get(subscription) is GAP
        await assert_rings(bus, subscription, "a")


async def test_subscribing_during_an_outage_returns_at_once(server: Server) -> None:
    async with impatient(server.address) as bus, AsyncExitStack() as stack:
        await eventually(lambda: bus.connected)
        await server.kill()
        await eventually(lambda: not bus.connected)

        async with asyncio.timeout(5):
            names = [str(number) for number in range(100)]
            subscriptions = [await stack.enter_async_context(bus.subscribe(name)) for name in names]
        await server.start()

        assert [await get(each) for each in subscriptions] == [GAP] * 100


async def test_publishing_during_an_outage_neither_waits_nor_fails(
    bus: Bus, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert not inspect.iscoroutinefunction(bus.publish)
    caplog.set_level(logging.INFO, logger="app.valkey")
    async with bus.subscribe("a") as subscription:
        await server.kill()
        for count in range(1, 4):
            bus.publish("a", "lost")
            await eventually(lambda: bus.dropped == count)  # noqa: B023 - used within the round
        assert not bus.healthy

        await server.start()

        assert await get(subscription) is GAP
        await assert_rings(bus, subscription, "a")
        await eventually(lambda: bus.healthy)
    assert bus.dropped == 3
    assert sorted(record.levelname for record in caplog.records) == ["INFO", "INFO", "WARNING", "WARNING"]


async def test_a_full_outbox_drops_and_counts(server: Server) -> None:
    await server.kill()

    async with impatient(server.address, outbox_limit=10) as bus:
        for _ in range(25):
            bus.publish("a", "x")

        assert bus.dropped == 15
    assert bus.dropped == 25


async def test_publishing_to_a_silent_server_is_bounded(url: str, server: Server) -> None:
    async with impatient(url, publish_timeout_seconds=0.2, socket_timeout_seconds=60) as bus:
        for count in range(1, 3):
            # The first time it has no connection yet, and the second time it has.
            with suspended(server):
                bus.publish("given up", "x")
                await eventually(lambda: bus.dropped == count, timeout_seconds=5)  # noqa: B023 - used within the round
                assert not bus.healthy

            async with bus.subscribe("a") as subscription:
                await assert_rings(bus, subscription, "a")
            await eventually(lambda: bus.healthy)


async def test_what_a_lost_connection_left_unanswered_is_sent_again_in_order(bus: Bus, admin: Redis) -> None:
    async with bus.subscribe("a") as subscription:
        await assert_rings(bus, subscription, "a")
        # The server takes nothing before it has hung up.
        await admin.client_pause(10_000, all=False)
        for number in range(600):
            bus.publish("a", str(number))
        await eventually(lambda: len(bus._outbox._written) == BATCH)
        await admin.client_kill_filter(_type="normal", skipme=True)
        bus.publish("a", "600")
        await admin.client_unpause()

        assert await take(subscription, 601) == [str(number) for number in range(601)]
    assert bus.dropped == 0


async def test_what_the_server_refuses_is_dropped_and_counted(url: str, admin: Redis) -> None:
    await allow(admin, "-publish")

    async with impatient(url) as bus:
        bus.publish("a", "x")
        await eventually(lambda: bus.dropped == 1 and not bus.healthy)
        await allow(admin, "+publish")

        async with bus.subscribe("a") as subscription:
            await assert_rings(bus, subscription, "a")
        await eventually(lambda: bus.healthy)


async def test_a_refused_subscription_is_one_outage(
    url: str, admin: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await allow(admin, "-subscribe")

    async with impatient(url) as bus, bus.subscribe("a") as subscription:
        await eventually(lambda: bus._backend._failures > 3)
        await allow(admin, "+subscribe")

        assert await get(subscription) is GAP
        await assert_rings(bus, subscription, "a")
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


async def allow(admin: Redis, command: str) -> None:
    await admin.acl_setuser("default", enabled=True, nopass=True, commands=[command])


async def test_an_undecodable_message_is_a_gap(bus: Bus, admin: Redis) -> None:
    async with bus.subscribe("a") as subscription:
        await admin.publish("test:a", b"\xff\xfe")
        assert await get(subscription) is GAP

        bus.publish("a", "half \ud800 a pair")
        assert await get(subscription) is GAP

        await assert_rings(bus, subscription, "a")


async def test_a_channel_name_cannot_break_the_others(bus: Bus) -> None:
    names = ["", " ", "*", "x y\r\n", "ü", "\ud800", "\0", "n" * 5000]
    async with AsyncExitStack() as stack:
        subscriptions = {name: await stack.enter_async_context(bus.subscribe(name)) for name in names}

        for name in names:
            bus.publish(name, f"to {len(name)}")

        assert [await get(subscriptions[name]) for name in names] == [f"to {len(name)}" for name in names]


async def test_a_flood_becomes_one_gap_and_takes_no_more_room(url: str) -> None:
    async with (
        impatient(url, inbox_limit=100) as bus,
        bus.subscribe("a") as slow,
        bus.subscribe("b") as other,
    ):
        for number in range(5000):
            bus.publish("a", str(number))
        await assert_rings(bus, other, "b")

        assert slow._subscriber._queue.qsize() == 101
        assert await take(slow, 101) == [*map(str, range(100)), GAP]
        await assert_rings(bus, slow, "a")


async def test_a_slow_reader_takes_a_fast_one_into_its_gap_but_not_its_messages(url: str) -> None:
    async with impatient(url, inbox_limit=3) as bus, bus.subscribe("a") as fast, bus.subscribe("a") as slow:
        for number in range(3):
            bus.publish("a", str(number))
            assert await get(fast) == str(number)
        bus.publish("a", "4")

        assert await get(fast) is GAP
        assert await take(slow, 4) == ["0", "1", "2", GAP]
        bus.publish("a", "5")
        assert (await get(fast), await get(slow)) == ("5", "5")


async def test_closing_ends_the_subscribers(url: str, admin: Redis) -> None:
    async with AsyncExitStack() as stack:
        async with impatient(url) as bus:
            waiting, unread = [await stack.enter_async_context(bus.subscribe(name)) for name in "ab"]
            ended = asyncio.create_task(get(waiting))
            bus.publish("b", "x")
            await eventually(lambda: unread._subscriber._queue.qsize() == 1)

        with pytest.raises(BusClosed):
            await ended
        assert await get(unread) == "x"
        for _ in range(2):
            with pytest.raises(BusClosed):
                await get(unread)
        assert not bus.connected
        await eventually(lambda: no_channels(admin))


async def test_a_bus_that_is_not_open_takes_no_subscriber(url: str) -> None:
    bus = impatient(url)
    for _ in range(2):
        with pytest.raises(BusClosed):
            await bus.subscribe("a").__aenter__()
        async with bus:
            pass


async def test_closing_sends_what_waits(bus: Bus, url: str) -> None:
    async with bus.subscribe("a") as subscription:
        async with impatient(url) as leaving:
            for number in range(2000):
                leaving.publish("a", str(number))
        leaving.publish("a", "too late")

        assert await take(subscription, 1000) == [str(number) for number in range(1000)]
    assert leaving.dropped == 1


async def test_closing_is_bounded_with_a_silent_server(url: str, server: Server) -> None:
    async with asyncio.timeout(5):
        async with impatient(url, flush_timeout_seconds=0.1, publish_timeout_seconds=60) as bus:
            bus.publish("a", "sent")
            await eventually(bus._outbox._empty.is_set)
            with suspended(server):
                bus.publish("a", "under way")
                await eventually(lambda: bus._outbox._written)
                bus.publish("a", "waiting")
                await bus.__aexit__()
    assert bus.dropped == 2


async def test_closing_leaves_no_task_and_no_connection(url: str, admin: Redis) -> None:
    before = asyncio.all_tasks()

    async with impatient(url) as bus, bus.subscribe("a") as subscription:
        await assert_rings(bus, subscription, "a")

    assert asyncio.all_tasks() == before
    await eventually(lambda: only_one_client(admin))


async def only_one_client(admin: Redis) -> bool:
    return len(await admin.client_list()) == 1


async def test_cancelling_a_subscribe_leaves_nothing(url: str, server: Server, admin: Redis) -> None:
    async with impatient(url, quiet_seconds=30) as bus:
        await eventually(lambda: bus.connected)
        with suspended(server):
            entering = [asyncio.create_task(bus.subscribe("a").__aenter__()) for _ in range(3)]
            await eventually(lambda: len(bus._subscribed) == 3)
            for task in entering:
                task.cancel()
            results = await asyncio.gather(*entering, return_exceptions=True)

        assert [type(result) for result in results] == [asyncio.CancelledError] * 3
        assert (bus._subscribed, bus._backend.lanes) == (set(), {})
        await eventually(lambda: no_channels(admin))


async def test_churn_with_cancellations_and_lost_connections_leaves_nothing(bus: Bus, admin: Redis) -> None:
    dice = random.Random(7)

    async def visit() -> None:
        async with bus.subscribe(str(dice.randrange(10))) as subscription:
            await subscription.get()

    async with bus.subscribe("stays") as stays:
        visits = [asyncio.create_task(visit()) for _ in range(300)]
        while alive := [task for task in visits if not task.done()]:
            for task in dice.sample(alive, min(20, len(alive))):
                task.cancel()
            bus.publish(str(dice.randrange(10)), "x")
            if dice.random() < 0.2:
                await admin.client_kill_filter(_type="pubsub")
            await asyncio.wait(visits, timeout=dice.random() / 100)
        await eventually(lambda: only_stays(admin))
        bus.publish("stays", "marker")
        assert "marker" in [await get(stays) for _ in range(bus.reconnects + 1)]
    assert (bus._subscribed, bus._backend.lanes) == (set(), {})
    await eventually(lambda: no_channels(admin))


async def only_stays(admin: Redis) -> bool:
    return await channels(admin) == {b"test:stays"}


async def test_many_channels_are_subscribed_again(url: str, admin: Redis, server: Server) -> None:
    names = [str(number) for number in range(1200)]
    async with impatient(url) as bus, AsyncExitStack() as stack:
        entering = [stack.enter_async_context(bus.subscribe(name)) for name in names]
        subscriptions = await asyncio.gather(*entering)
        await server.kill()
        await server.start()

        assert [await get(each) for each in subscriptions] == [GAP] * len(names)
        for name in names:
            bus.publish(name, name)
        assert [await get(each) for each in subscriptions] == names
        assert len(await channels(admin)) == len(names)


async def test_password_and_database_of_the_url_are_used(server: Server, admin: Redis) -> None:
    await admin.config_set("requirepass", "s3cret")

    url = server.address.replace("//", "//:s3cret@") + "/3"
    async with impatient(url) as bus, bus.subscribe("a") as subscription:
        await assert_rings(bus, subscription, "a")


async def test_a_wrong_password_is_an_outage_and_stays_out_of_the_log(
    server: Server, admin: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await admin.config_set("requirepass", "s3cret")

    url = server.address.replace("//", "//:wr0ng@")
    async with impatient(url) as bus, bus.subscribe("a") as subscription:
        bus.publish("a", "lost")
        await eventually(lambda: bus.dropped == 1)
        await admin.config_set("requirepass", "wr0ng")

        assert await get(subscription) is GAP
        await assert_rings(bus, subscription, "a")
    assert "wr0ng" not in caplog.text
    assert "WRONGPASS" in caplog.text or "invalid username-password" in caplog.text


@pytest.mark.parametrize("url", ["", "http://x", "redis://:hunter2/x@host:1", "redis://host:port"])
def test_an_unusable_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="Redis URL cannot be used") as caught:
        Bus(url)

    assert caught.value.__cause__ is None
    assert "hunter2" not in str(caught.value)


async def test_something_that_is_no_redis_is_an_outage(unused_tcp_port: int) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n*x\r\n")
        writer.close()

    impostor = await asyncio.start_server(answer, "127.0.0.1", unused_tcp_port)
    url = f"redis://127.0.0.1:{unused_tcp_port}"
    async with impostor, impatient(url) as bus, bus.subscribe("a"):
        bus.publish("a", "x")

        await eventually(lambda: bus.dropped == 1)
        assert not bus.connected


def test_pauses_stay_bounded_however_long_the_outage() -> None:
    """redis-py's own backoff overflows after about a thousand failures."""
    with pytest.raises(OverflowError):
        ExponentialWithJitterBackoff().compute(2000)
    bus = impatient("redis://127.0.0.1")

    bus._backend._failures = 2000

    assert bus._backend._pause_seconds() <= 0.1


async def test_who_is_stopped_while_stopping_a_task_ends_it_first() -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    stopping = asyncio.create_task(stop(task))
    for _ in range(3):
        await asyncio.sleep(0)
    stopping.cancel()

    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert task.cancelled()
