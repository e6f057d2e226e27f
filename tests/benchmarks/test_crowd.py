"""The clients that measure delivery, against the quickest server that there is."""

import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks import delivery
from benchmarks.contestants import FRAMES, Stage
from benchmarks.crowd import Delivered, Greeting, Publisher, Silence, crowded, stamp
from benchmarks.events import Feeds

CLIENTS = 20


@pytest.fixture
def stage(tmp_path: Path, redis_url: str) -> Stage:
    return Stage("postgresql://nobody@localhost/none", redis_url, tmp_path, 0)


async def test_every_event_is_seen_and_its_lag_known(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "SECONDS", 0.2)

    figures = await delivery.one_round(FRAMES, stage, CLIENTS)

    assert figures["missed"] == 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] < 10_000
    assert figures["fan_out_last_ms"] > 0


async def test_an_event_that_does_not_come_is_missed(stage: Stage) -> None:
    async with FRAMES.served(stage) as process:
        publisher = Publisher(urlsplit(stage.redis_url).port or 0)
        feeds = Feeds(publisher, FRAMES.name)
        with crowded(process.port, [Greeting("/watched"), Greeting("/unwatched")]) as crowd:
            crowd.receive(1, 0.5, lambda: 0)

            def publish() -> int:
                feeds.publish("watched")
                return 0

            delivered = crowd.receive(2, 1, publish)

    assert delivered.missed == 1
    assert len(delivered.lags_seconds) == 1
    publisher.close()


async def test_a_server_that_refuses_is_told_of(stage: Stage) -> None:
    async with FRAMES.served(stage) as process:
        with pytest.raises(Silence, match="200 OK"), crowded(process.port, [Greeting("/health")]):
            pass


def test_what_comes_twice_counts_once() -> None:
    delivered = Delivered(2)
    first, second = (f'{{"message":"{stamp()}"}}'.encode() for _ in range(2))

    for client, frame in ((1, first), (1, first), (2, first), (1, second)):
        delivered.note(client, frame, time.monotonic_ns())

    assert len(delivered.lags_seconds) == 3
