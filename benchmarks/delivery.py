"""Live events: to thousands of clients with an owner each, and one event to thousands of the same owner."""

import asyncio
import json
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from benchmarks import documents, load
from benchmarks.contestants import FRAMES, NODE, PRODUCT, REST, Contestant, Run, Stage, token
from benchmarks.crowd import Crowd, Delivered, Greeting, Publisher, crowded
from benchmarks.events import Feeds
from benchmarks.measures import MILLISECONDS, Figures, compared, say
from benchmarks.processes import Process
from tests.eventually import eventually

CONTESTANTS = (PRODUCT, REST, NODE, FRAMES)
CLIENTS, FEWEST = (100, 1_000, 5_000), 10
EVENTS_PER_SECOND = 1_000
SECONDS = 3.0
# Fan-outs of one event to all, in each round.
REPEATS = 5
LATE_SECONDS = 20.0
PAUSE_SECONDS = 0.2
OPEN_SECONDS = 120.0
KIB = 1024
# CPU is given for so many events that arrived.
EVENTS = 10_000

_SUBSCRIPTIONS = re.compile(rb"^subscriptions (\d+)", re.MULTILINE)


class Missed(Exception):
    """Events did not arrive."""


async def delivery(stage: Stage, run: Run) -> dict[str, Any]:
    """The figures by number of clients and contestant."""
    taken: dict[int, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))
    for count in (max(int(clients * run.scale), FEWEST) for clients in CLIENTS):
        for number in range(run.rounds):
            for contestant in run.among(CONTESTANTS):
                figures = await one_round(contestant, stage, count)
                taken[count][contestant.name].append(figures)
                say(f"  {count:,} clients, round {number + 1}: {_line(contestant, figures)}")
    return {str(count): compared(found) for count, found in taken.items()}


@dataclass(frozen=True)
class Trial:
    """A contestant's fresh process, and the events that it passes on."""

    contestant: Contestant
    process: Process
    feeds: Feeds
    publisher: Publisher


async def one_round(contestant: Contestant, stage: Stage, count: int) -> Figures:
    """Idle subscriptions, steady events, then one event to all."""
    publisher = Publisher(urlsplit(stage.redis_url).port or 0)
    async with contestant.served(stage) as process:
        trial = Trial(contestant, process, Feeds(publisher, contestant.name), publisher)
        steady = await _steady(trial, [f"watcher {place}" for place in range(count)])
        fan_out = await _fan_out(trial, count)
    publisher.close()
    return {**steady, **fan_out}


async def _steady(trial: Trial, owners: Sequence[str]) -> Figures:
    process = trial.process
    before, opening = process.resident_bytes(), process.cpu_seconds()
    with crowded(process.port, [_greeting(trial.contestant, owner) for owner in owners]) as crowd:
        await _all_listen(trial, len(owners))
        opened = process.cpu_seconds() - opening
        _wake(trial, crowd, owners)
        memory = process.resident_bytes() - before
        began = process.cpu_seconds()
        delivered = crowd.receive(int(EVENTS_PER_SECOND * SECONDS), LATE_SECONDS, _paced(trial, owners))
        used = process.cpu_seconds() - began
    arrived, cuts = len(delivered.lags_seconds), statistics.quantiles(delivered.lags_seconds, n=100)
    return {
        "cpu_ms": used / arrived * MILLISECONDS,
        "cpu_seconds_for_10000": used / arrived * EVENTS,
        "p50_ms": cuts[49] * MILLISECONDS,
        "p99_ms": cuts[98] * MILLISECONDS,
        "missed": delivered.missed,
        "kib_each": memory / KIB / len(owners),
        "opening_cpu_ms_each": opened / len(owners) * MILLISECONDS,
    }


async def _fan_out(trial: Trial, count: int) -> Figures:
    """One event to all of many identical subscriptions, some times over."""
    owner, lasts = "everybody", list[float]()
    with crowded(trial.process.port, [_greeting(trial.contestant, owner)] * count) as crowd:
        await _all_listen(trial, count)
        _wake(trial, crowd, [owner])
        began = trial.process.cpu_seconds()
        for _ in range(REPEATS):
            await asyncio.sleep(PAUSE_SECONDS)
            delivered = crowd.fan_out(LATE_SECONDS, partial(trial.feeds.publish, owner))
            _check(trial.contestant, delivered)
            lasts.append(max(delivered.lags_seconds))
        used = trial.process.cpu_seconds() - began
    return {
        "fan_out_last_ms": statistics.median(lasts) * MILLISECONDS,
        "fan_out_cpu_seconds_for_10000": used / (count * REPEATS) * EVENTS,
    }


def _paced(trial: Trial, owners: Sequence[str]) -> Callable[[], int]:
    """Publishes at an even pace, to the owners in turn."""
    began, sent, total = time.monotonic(), 0, int(EVENTS_PER_SECOND * SECONDS)

    def publish() -> int:
        nonlocal sent
        due = min(int((time.monotonic() - began) * EVENTS_PER_SECOND), total)
        while sent < due:
            trial.feeds.publish(owners[sent % len(owners)])
            sent += 1
        trial.publisher.drain()
        return 1 if sent < total else 0

    return publish


async def _all_listen(trial: Trial, count: int) -> None:
    """Wait until the product has begun to watch for all; of others an event must show it."""
    if trial.contestant is PRODUCT:
        await eventually(partial(_watched, trial.process, count), OPEN_SECONDS)


def _wake(trial: Trial, crowd: Crowd, owners: Sequence[str]) -> None:
    """Have an event of each owner reach all of its clients."""
    trial.feeds.restart()

    def publish() -> None:
        for owner in owners:
            trial.feeds.publish(owner)
        trial.publisher.drain()

    crowd.wake(publish)


async def _watched(process: Process, count: int) -> bool:
    """Whether the product counts so many subscriptions: each begins at the feed's head, once it is known."""
    found = _SUBSCRIPTIONS.search(await load.ask(process.port, load.get("/metrics", "")))
    return found is not None and int(found[1]) == count


def _check(contestant: Contestant, delivered: Delivered) -> None:
    if delivered.missed:
        raise Missed(f"{contestant.title}: {delivered.missed:,} of {delivered.expected:,} events")


def _greeting(contestant: Contestant, owner: str) -> Greeting:
    if contestant is FRAMES:
        return Greeting(f"/{quote(owner)}")
    if contestant is REST:
        return Greeting(f"/ws/executions?token={token(owner)}")
    return Greeting("/graphql", "graphql-transport-ws", _begin(owner))


def _begin(owner: str) -> Sequence[str]:
    payload = {"Authorization": f"Bearer {token(owner)}"}
    subscribe = {"id": "1", "type": "subscribe", "payload": {"query": documents.FEED}}
    return [json.dumps({"type": "connection_init", "payload": payload}), json.dumps(subscribe)]


def _line(contestant: Contestant, figures: Mapping[str, float]) -> str:
    return (
        f"{contestant.name} {figures['cpu_seconds_for_10000']:.2f} CPU s for 10,000, "
        f"p50 {figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms, "
        f"{figures['missed']:.0f} missed, {figures['kib_each']:.1f} KiB each, "
        f"fan-out {figures['fan_out_last_ms']:.0f} ms"
    )
