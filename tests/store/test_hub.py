"""A subscriber is a cursor: whatever becomes of the doorbells, it gets every event once and in order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from sqlalchemy import text

from app import doorbells, main
from app.deliveries import Delivery, encode
from app.errors import CursorExpired, InvalidInput, Issue
from app.hub import Hub
from app.settings import Settings
from app.store import events
from resolvers.context import Services
from tests.eventually import eventually
from tests.store.rows import COMPLETED, Rows, draft
from tests.store.statements import recorded

WAIT_SECONDS = 10
RING, PAGE = 8, 5
MANY = 30


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A small ring and small pages; the backstop stays out of it unless a test is about it."""
    return settings.model_copy(
        update={"hub_ring_events": RING, "hub_page_events": PAGE, "hub_backstop_seconds": 600.0}
    )


@pytest.fixture
def loud(services: Services) -> Rows:
    """Writes that ring, as the application's do; those of `rows` ring nowhere."""
    return Rows(services.db)


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest_asyncio.fixture
async def watchful(settings: Settings) -> AsyncIterator[Services]:
    """A process whose backstop looks often."""
    async with main.services(settings.model_copy(update={"hub_backstop_seconds": 0.05})) as parts:
        yield parts


class Reader:
    """One subscription, which gets only what it pulls."""

    def __init__(self, batches: AsyncGenerator[list[Delivery], None]) -> None:
        self._batches = batches
        self._left: list[Delivery] = []

    async def take(self, count: int) -> list[Delivery]:
        """The next deliveries, waited for."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self._left) < count:
                batch = await anext(self._batches)
                assert batch, "an empty batch"
                self._left += batch
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    async def positions(self, count: int) -> list[int]:
        return [delivery.event.position for delivery in await self.take(count)]


@asynccontextmanager
async def following(
    hub: Hub, after: int | None = None, execution_id: UUID | None = None, owner: str = "alice"
) -> AsyncIterator[Reader]:
    async with aclosing(pulled(hub, owner, after, execution_id)) as batches:
        yield Reader(batches)


async def pulled(
    hub: Hub, owner: str, after: int | None, execution_id: UUID | None
) -> AsyncGenerator[list[Delivery], None]:
    """The batches of a cursor that is opened with the first."""
    cursor = await hub.open(owner, after, execution_id)
    try:
        while True:
            yield await cursor.batch()
    finally:
        cursor.close()


@asynccontextmanager
async def waiting(hub: Hub, reader: Reader, count: int) -> AsyncIterator["asyncio.Task[list[int]]"]:
    """The reader pulls already, and its feed is watched."""
    task = asyncio.create_task(reader.positions(count))
    await eventually(lambda: hub.watched_owners and hub._feeds["alice"].opened.is_set())
    yield task
    await task


def counted(parts: Services, name: str) -> float | None:
    return parts.metrics.registry.get_sample_value(name)


def ring(parts: Services, *deliveries: Delivery) -> None:
    doorbells.announce(parts.bus, deliveries)


async def test_the_past_is_followed_by_what_happens_live(services: Services, rows: Rows, loud: Rows) -> None:
    execution = await rows.running()

    async with following(services.hub, after=0) as reader:
        past = await reader.take(2)
        written = await loud.append(execution.id, draft(), draft())
        live = await reader.take(2)
        last = await loud.append(execution.id, COMPLETED)

        assert await reader.take(1) == last

    assert [delivery.event for delivery in past] == (await loud.feed())[:2]
    assert live == written
    assert counted(services, "gaps_filled_total") == 0
    assert counted(services, "backstop_deliveries_total") == 0


async def test_without_a_cursor_only_what_happens_from_now_on_comes(services: Services, loud: Rows) -> None:
    execution = await loud.running()

    async with following(services.hub) as reader, waiting(services.hub, reader, 2) as taken:
        await loud.append(execution.id, draft(), draft())

    assert taken.result() == [3, 4]


async def test_the_first_event_of_an_owner_comes_live(services: Services, loud: Rows) -> None:
    async with following(services.hub) as reader, waiting(services.hub, reader, 2) as taken:
        await loud.running()

    assert taken.result() == [1, 2]


async def test_what_happens_to_others_does_not_come(services: Services, loud: Rows) -> None:
    mine, theirs = await loud.running(), await loud.running(await loud.workflow("bob"))

    async with following(services.hub, after=2) as reader, waiting(services.hub, reader, 1) as taken:
        await loud.append(theirs.id, draft())
        await loud.append(mine.id, draft(message="mine"))

    assert taken.result() == [3]
    async with following(services.hub, after=0, owner="bob") as reader:
        assert await reader.positions(3) == [1, 2, 3]


async def test_a_backlog_that_the_ring_never_had_is_paged(services: Services, rows: Rows) -> None:
    execution = await rows.running()
    await rows.append(execution.id, *[draft()] * (MANY - 2))

    async with following(services.hub, after=0) as reader:
        with recorded(services.db) as said:
            seen = await reader.positions(MANY)

    assert seen == list(range(1, MANY + 1))
    pages = [statement for statement in said if statement.target == "SELECT execution_event"]
    assert len(pages) == MANY / PAGE


async def test_a_reader_who_comes_late_misses_nothing_and_holds_nothing(
    services: Services, rows: Rows, loud: Rows
) -> None:
    execution = await rows.running()

    async with following(services.hub, after=1) as slow, following(services.hub, after=2) as quick:
        assert await slow.positions(1) == [2]
        for number in range(MANY):
            await loud.append(execution.id, draft())
            assert await quick.positions(1) == [3 + number]
        held = len(services.hub._feeds["alice"].ring)

        assert await slow.positions(MANY) == list(range(3, 3 + MANY))
        await loud.append(execution.id, draft())
        assert await slow.positions(1) == await quick.positions(1) == [3 + MANY]

    assert held == RING
    assert counted(services, "gaps_filled_total") == 0


async def test_each_of_many_readers_goes_at_its_own_pace(services: Services, loud: Rows) -> None:
    execution = await loud.running()
    total = 2 + 4 * MANY

    async def read(pause_every: int) -> list[int]:
        async with following(services.hub, after=0) as reader:
            seen: list[int] = []
            while len(seen) < total:
                seen += await reader.positions(min(pause_every, total - len(seen)))
            return seen

    readers = [asyncio.create_task(read(pause_every)) for pause_every in (1, 2, 3, 7, 50, total)]
    for _ in range(MANY):
        await loud.append(execution.id, *[draft()] * 4)

    assert await asyncio.gather(*readers) == [list(range(1, total + 1))] * len(readers)


async def test_what_rang_nowhere_is_found_by_the_backstop_and_counted(watchful: Services, rows: Rows) -> None:
    execution = await rows.running()

    async with following(watchful.hub, after=1) as reader:
        assert await reader.positions(1) == [2]
        await rows.append(execution.id, draft(), draft(), draft())
        assert await reader.positions(3) == [3, 4, 5]
        lost = counted(watchful, "backstop_deliveries_total")
        ring(watchful, *await rows.append(execution.id, draft()))
        assert await reader.positions(1) == [6]

    assert lost == 3


async def test_a_doorbell_that_is_only_late_is_not_counted_as_lost(
    services: Services, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.hub.DOORBELL_GRACE_SECONDS", 1.0)
    execution = await rows.running()

    async with following(services.hub, after=1) as reader:
        assert await reader.positions(1) == [2]
        written = await rows.append(execution.id, draft())
        with recorded(services.db) as said:
            look = asyncio.create_task(services.hub._catch_up())
            await eventually(lambda: said)
        ring(services, *written)
        assert await reader.positions(1) == [3]
        assert not look.done()
        await look

    assert counted(services, "backstop_deliveries_total") == 0


async def test_the_backstop_asks_once_for_all_owners(services: Services, rows: Rows) -> None:
    for owner in ("alice", "bob", "carol"):
        await rows.pending(await rows.workflow(owner))

    async with AsyncExitStack() as stack:
        for owner in ("alice", "bob", "carol"):
            reader = await stack.enter_async_context(following(services.hub, after=0, owner=owner))
            assert await reader.positions(1) == [1]
        with recorded(services.db) as said:
            await services.hub._catch_up()

    assert [statement.target for statement in said] == ["SELECT feed"]
    assert services.hub.watched_owners == []
    with recorded(services.db) as said:
        await services.hub._catch_up()
    assert said == []


async def test_doorbells_out_of_order_give_events_in_order(services: Services, rows: Rows) -> None:
    execution = await rows.running()

    async with following(services.hub, after=2) as reader, waiting(services.hub, reader, 4) as taken:
        first, second, third = await rows.append(execution.id, draft(), draft(), draft())
        ring(services, third, first, second)
        await eventually(lambda: services.hub._feeds["alice"].head == 5)
        ring(services, *await rows.append(execution.id, draft()))

    assert taken.result() == [3, 4, 5, 6]
    assert counted(services, "gaps_filled_total") == 1


async def test_a_doorbell_that_is_missing_is_made_up_for_by_the_next(services: Services, rows: Rows) -> None:
    execution = await rows.running()

    async with following(services.hub, after=2) as reader, waiting(services.hub, reader, 3) as taken:
        _, _, third = await rows.append(execution.id, draft(), draft(), draft())
        ring(services, third)

    assert taken.result() == [3, 4, 5]
    assert counted(services, "gaps_filled_total") == 1


async def test_a_gap_wider_than_the_ring_is_paged(services: Services, rows: Rows) -> None:
    execution = await rows.running()

    async with following(services.hub, after=2) as reader, waiting(services.hub, reader, MANY) as taken:
        *_, last = await rows.append(execution.id, *[draft()] * MANY)
        ring(services, last)

    assert taken.result() == list(range(3, 3 + MANY))


async def test_a_bare_position_is_looked_up(services: Services, rows: Rows) -> None:
    execution = await rows.running()

    async with following(services.hub, after=2) as reader, waiting(services.hub, reader, 2) as taken:
        written = await rows.append(execution.id, draft(), draft())
        services.bus.publish(doorbells.feed("alice"), str(written[-1].event.position))

    assert taken.result() == [3, 4]


async def test_an_event_too_large_to_be_rung_comes_whole(services: Services, loud: Rows) -> None:
    execution = await loud.running()
    large = draft(message="x" * doorbells.MAX_MESSAGE_BYTES)

    async with following(services.hub, after=1) as reader:
        assert await reader.positions(1) == [2]
        written = await loud.append(execution.id, large)
        assert await reader.take(1) == written

    assert written[0].event.message == large.message
    assert counted(services, "gaps_filled_total") == 1


async def test_doorbells_that_ring_twice_deliver_once(services: Services, rows: Rows) -> None:
    execution = await rows.running()

    async with following(services.hub, after=2) as reader, waiting(services.hub, reader, 3) as taken:
        first, second = await rows.append(execution.id, draft(), draft())
        ring(services, first, first, second, first, second)
        services.bus.publish(doorbells.feed("alice"), "3")
        with recorded(services.db) as said:
            ring(services, *await rows.append(execution.id, draft()))
            await eventually(taken.done)

    assert taken.result() == [3, 4, 5]
    assert said == []


async def test_a_doorbell_of_another_make_makes_the_hub_look(services: Services, rows: Rows) -> None:
    execution = await rows.running()
    newer = orjson.loads(encode((await rows.append(execution.id, draft()))[0]))
    newer.append("of a newer version")
    strange = [
        "",
        "garbage",
        "²",
        "{}",
        "[]",
        "null",
        "1.5",
        "[{}, 1]",
        "[[], []]",
        orjson.dumps(newer).decode(),
    ]

    async with following(services.hub, after=2) as reader:
        assert await reader.positions(1) == [3]
        for number, message in enumerate(strange):
            await rows.append(execution.id, draft())
            services.bus.publish(doorbells.feed("alice"), message)
            assert await reader.positions(1) == [4 + number]


async def test_a_lost_connection_to_redis_makes_the_hub_look(
    services: Services, rows: Rows, redis: Redis
) -> None:
    execution = await rows.running()

    async with following(services.hub, after=2) as reader, waiting(services.hub, reader, 2) as taken:
        await rows.append(execution.id, draft())
        await redis.client_kill_filter(_type="pubsub")
        await eventually(lambda: counted(services, "gaps_filled_total"))
        ring(services, *await rows.append(execution.id, draft()))

    assert taken.result() == [3, 4]
    assert counted(services, "backstop_deliveries_total") == 0


async def test_one_executions_events_come_alone(services: Services, loud: Rows) -> None:
    mine, other = await loud.running(), await loud.running()
    for _ in range(MANY):
        await loud.append(other.id, draft())
    await loud.append(mine.id, draft())

    async with following(services.hub, after=0, execution_id=mine.id) as reader:
        assert await reader.positions(3) == [1, 2, 5 + MANY]
        for _ in range(MANY):
            await loud.append(other.id, draft())
        written = await loud.append(mine.id, draft())
        assert await reader.take(1) == written


async def rename(rows: Rows, table: str, name: str) -> None:
    async with rows.db.write() as tx:
        await tx.connection.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))


async def test_no_failure_ends_the_backstop(
    watchful: Services, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    execution = await rows.running()

    async with following(watchful.hub, after=1) as reader:
        assert await reader.positions(1) == [2]
        await rename(rows, "feed", "elsewhere")
        await eventually(lambda: "The backstop failed" in caplog.text)
        await rename(rows, "elsewhere", "feed")
        await rows.append(execution.id, draft())

        assert await reader.positions(1) == [3]


async def test_no_failure_ends_the_listening(
    services: Services, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    execution = await rows.running()

    async with following(services.hub, after=1) as reader:
        assert await reader.positions(1) == [2]
        await rename(rows, "feed", "elsewhere")
        services.bus.publish(doorbells.feed("alice"), "3")
        await eventually(lambda: "Live delivery failed" in caplog.text)
        await rename(rows, "elsewhere", "feed")
        ring(services, *await rows.append(execution.id, draft()))

        assert await reader.positions(1) == [3]


async def test_no_failure_leaves_a_subscriber_waiting_for_ever(
    services: Services, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    await rows.running()
    await rename(rows, "feed", "elsewhere")

    async with following(services.hub, after=1) as reader:
        taken = asyncio.create_task(reader.positions(1))
        await eventually(lambda: "Feeds cannot be watched yet" in caplog.text)
        await rename(rows, "elsewhere", "feed")

        assert await taken == [2]


async def test_a_position_is_not_refused_for_want_of_an_answer(
    services: Services, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    execution = await rows.running()

    async with following(services.hub, after=1) as early, following(services.hub, after=3) as reader:
        assert await early.positions(1) == [2]
        await rename(rows, "feed", "elsewhere")
        taken = asyncio.create_task(reader.positions(1))
        await eventually(lambda: "Live delivery failed" in caplog.text)
        await rename(rows, "elsewhere", "feed")
        await rows.append(execution.id, draft())
        ring(services, *await rows.append(execution.id, draft()))

        assert await taken == [4]


async def watched(redis: Redis, settings: Settings) -> list[str]:
    """The channels that someone in Redis listens to for this test."""
    return [str(name) for name in await redis.pubsub_channels(f"{settings.redis_prefix}:*")]


def listeners() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "hub: listen"]


async def test_nothing_is_left_of_a_feed_that_nobody_watches(
    services: Services, loud: Rows, redis: Redis, settings: Settings
) -> None:
    execution = await loud.running()

    async with following(services.hub, after=1) as second:
        async with following(services.hub, after=1) as first:
            assert await first.positions(1) == await second.positions(1) == [2]
            assert services.hub.watched_owners == ["alice"]
            assert await watched(redis, settings) == [f"{settings.redis_prefix}:feed:alice"]
            assert counted(services, "subscriptions") == 2
        await loud.append(execution.id, draft())
        assert await second.positions(1) == [3]
        assert (counted(services, "subscriptions"), counted(services, "watched_owners")) == (1, 1)

    assert services.hub.watched_owners == []
    assert (counted(services, "subscriptions"), counted(services, "watched_owners")) == (0, 0)
    await eventually(lambda: not listeners())
    await eventually(lambda: none_watched(redis, settings))


async def none_watched(redis: Redis, settings: Settings) -> bool:
    return await watched(redis, settings) == []


async def test_a_feed_can_be_watched_again_at_once(services: Services, loud: Rows) -> None:
    execution = await loud.running()

    for number in range(10):
        async with following(services.hub, after=1 + number) as reader:
            assert await reader.positions(1) == [2 + number]
            await loud.append(execution.id, draft())
            assert await reader.positions(1) == [3 + number]

    assert services.hub.watched_owners == []


async def test_a_subscriber_who_gives_up_while_postgres_is_away_leaves_nothing(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://postgres@127.0.0.1:1/postgres"})

    async with main.services(away) as services, following(services.hub) as reader:
        task = asyncio.create_task(reader.take(1))
        await eventually(lambda: services.hub.watched_owners == ["alice"])
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

        assert services.hub.watched_owners == []
        await eventually(lambda: not listeners())


async def test_many_subscriptions_of_an_owner_cost_what_one_does(
    services: Services, rows: Rows, redis: Redis, settings: Settings
) -> None:
    execution = await rows.running()

    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(following(services.hub, after=after)) for after in [None, 2] * 100
        ]
        with recorded(services.db) as opening:
            taking = [asyncio.create_task(reader.positions(1)) for reader in readers]
            await eventually(lambda: counted(services, "subscriptions") == 200)
            await eventually(services.hub._feeds["alice"].opened.is_set)
        with recorded(services.db) as delivering:
            ring(services, *await rows.append(execution.id, draft()))
            seen = await asyncio.gather(*taking)
        channel = f"{settings.redis_prefix}:feed:alice"
        subscribers: list[Any] = await redis.pubsub_numsub(channel)

    assert seen == [[3]] * 200
    assert [statement.target for statement in opening] == ["SELECT feed"]
    assert delivering == []
    assert subscribers == [(channel, 1)]


async def test_a_position_ahead_of_the_feed_is_refused(services: Services, loud: Rows) -> None:
    await loud.running()

    for ahead in (3, 10**17):
        async with following(services.hub, after=ahead) as reader:
            with pytest.raises(InvalidInput) as caught:
                await reader.take(1)
        assert caught.value.issues == (Issue("/after", "is ahead of the feed: it is not a cursor of yours"),)
    assert services.hub.watched_owners == []


async def test_a_position_that_has_not_rung_here_yet_is_no_position_ahead(
    services: Services, rows: Rows
) -> None:
    execution = await rows.running()

    async with following(services.hub, after=1) as early, following(services.hub, after=3) as reader:
        assert await early.positions(1) == [2]
        await rows.append(execution.id, draft())
        async with waiting(services.hub, reader, 1) as taken:
            ring(services, *await rows.append(execution.id, draft()))

        assert await early.positions(2) == [3, 4]
    assert taken.result() == [4]


async def test_a_position_whose_followers_are_pruned_is_refused(services: Services, rows: Rows) -> None:
    execution = await rows.running()
    await rows.append(execution.id, draft())
    async with rows.db.write() as tx:
        await events.prune(tx, "alice", datetime.now(UTC) + timedelta(days=1), 2)

    async with following(services.hub, after=1) as reader:
        with pytest.raises(CursorExpired) as caught:
            await reader.take(1)
    async with following(services.hub, after=2) as reader:
        assert await reader.positions(1) == [3]

    assert caught.value.head == 3


async def test_the_time_to_delivery_is_measured(services: Services, loud: Rows) -> None:
    await loud.running()

    async with following(services.hub, after=1) as reader:
        (delivery,) = await reader.take(1)
        services.hub.observe(delivery)

    assert counted(services, "delivery_lag_seconds_count") == 1
    lag = counted(services, "delivery_lag_seconds_sum")
    assert lag is not None
    assert 0 < lag < WAIT_SECONDS
