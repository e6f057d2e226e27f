"""Live delivery and the tracker, measured on real processes: `python -m benchmarks.live`.

All of it at the published size writes docs/live.md.

latency  an event's recording on one replica to its frame at a subscriber of another, in ms, with its commit:
         once as it is, once with commits that do not wait for the disk, which leaves the delivery
memory   what an idle subscription, each on a WebSocket of its own, costs its replica, in KiB
idle     CPU of a tracker over many open idle executions, in percent of a core, and how many it follows
burst    completions recorded per second, when many executions end at once
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from benchmarks.processes import cpu_seconds
from tests import factories
from tests.client import Client
from tests.eventually import eventually
from tests.faults.record import machine
from tests.faults.stack import Stack, stacked
from tests.processes.commands import resident_bytes

T = TypeVar("T")

WHAT = ["latency", "memory", "burst"]
PAGE = Path(__file__).parents[1] / "docs" / "live.md"
AT_ONCE = 25
NOBODY = "nobody-polls-this-queue"
FEED = "subscription { executionFeed { id cursor type status version execution { id status } } }"


async def latency(stack: Stack, executions: int) -> dict[str, Any]:
    """Start on one replica, watch on the other; with commits to disk and without."""
    whole = await _lags(stack, executions, "latency")
    await _commit(stack, "off")
    try:
        delivery = await _lags(stack, executions, "delivery")
    finally:
        await _commit(stack, "on")
    return {**whole, "delivery_median_ms": delivery["median_ms"], "delivery_p95_ms": delivery["p95_ms"]}


async def _commit(stack: Stack, synchronous: str) -> None:
    await stack.database.execute(f"ALTER SYSTEM SET synchronous_commit = {synchronous}")
    await stack.database.execute("SELECT pg_reload_conf()")
    await asyncio.sleep(1)


async def _lags(stack: Stack, executions: int, user: str) -> dict[str, Any]:
    here, there = (replica.api.client(user) for replica in stack.replicas[:2])
    arrivals: dict[str, float] = {}
    async with here, there, there.socket() as socket:
        workflow = await factories.workflow(here, NOBODY)
        await socket.subscribe("1", FEED)
        await asyncio.sleep(1)
        for _ in range(executions):
            await factories.start(here, workflow)
            for _ in ("created", "started"):
                event = (await socket.receive())["payload"]["data"]["executionFeed"]
                arrivals[event["id"]] = time.time()
    recorded = await stack.database.fetch(
        "SELECT execution_id || ':' || version AS id, extract(epoch FROM recorded_at) AS at "
        "FROM execution_event WHERE owner_id = $1",
        user,
    )
    lags = sorted((arrivals[row["id"]] - float(row["at"])) * 1000 for row in recorded)
    return {
        "events": len(lags),
        "median_ms": round(statistics.median(lags), 2),
        "p95_ms": round(lags[int(len(lags) * 0.95)], 2),
        "max_ms": round(lags[-1], 2),
    }


async def memory(stack: Stack, subscriptions: int) -> dict[str, Any]:
    """Open subscriptions that nothing happens to."""
    replica = await stack.serve()
    async with AsyncExitStack() as exits:
        client = await exits.enter_async_context(replica.api.client("idle"))
        await _open(exits, client, 20)
        before = resident_bytes(replica.process.pid)
        await _open(exits, client, subscriptions)
        after = resident_bytes(replica.process.pid)
    return {"subscriptions": subscriptions, "kib_each": round((after - before) / 1024 / subscriptions, 1)}


async def _open(exits: AsyncExitStack, client: Client, count: int) -> None:
    for _ in range(count):
        socket = await exits.enter_async_context(client.socket())
        await socket.subscribe("1", FEED)
    await asyncio.sleep(2)


async def idle_and_burst(stack: Stack, executions: int, completions: int) -> dict[str, Any]:
    """Many executions that nobody works on; then some of them end at once."""
    await _start_idle(stack, executions)
    await asyncio.sleep(5)
    before = [cpu_seconds(tracker.process.pid) for tracker in stack.trackers]
    await asyncio.sleep(30)
    percent = [
        (cpu_seconds(tracker.process.pid) - earlier) / 30 * 100
        for tracker, earlier in zip(stack.trackers, before, strict=True)
    ]
    followed = await stack.database.fetch(
        "SELECT count(*) FROM execution WHERE owner_id = 'idle' AND status = 'RUNNING' AND tracker_id IN "
        "(SELECT id FROM tracker WHERE alive_until > now()) GROUP BY tracker_id"
    )
    return {
        "open_executions": executions,
        "tracker_cpu_percent": [round(each, 1) for each in percent],
        "claimed_by_tracker": [row["count"] for row in followed],
        "burst": await _burst(stack, completions),
    }


async def _start_idle(stack: Stack, executions: int) -> None:
    async with stack.replicas[0].api.client("idle") as client:
        workflow = await factories.workflow(client, NOBODY)
        await _all(factories.start(client, workflow) for _ in range(executions))


async def _burst(stack: Stack, completions: int) -> dict[str, Any]:
    rows = await stack.database.fetch(
        "SELECT temporal_workflow_id AS id FROM execution WHERE owner_id = 'idle' AND status = 'RUNNING' "
        "ORDER BY created_at LIMIT $1",
        completions,
    )
    began = time.monotonic()
    await _all(stack.client.get_workflow_handle(row["id"]).terminate("burst") for row in rows)
    ended = time.monotonic()
    await eventually(partial(_has_ended, stack.database, completions), 120)
    recorded = time.monotonic()
    return {
        "completions": completions,
        "ended_in_seconds": round(ended - began, 1),
        "recorded_in_seconds": round(recorded - began, 1),
        "recorded_after_the_last_end_seconds": round(recorded - ended, 1),
        "recorded_per_second": round(completions / (recorded - began)),
    }


async def _has_ended(database: "asyncpg.Pool[asyncpg.Record]", count: int) -> bool:
    query = "SELECT count(*) FROM execution WHERE owner_id = 'idle' AND status = 'FAILED'"
    return int(await database.fetchval(query)) >= count


async def _all(work: Iterator[Awaitable[T]]) -> None:
    while batch := list(islice(work, AT_ONCE)):
        await asyncio.gather(*batch)


@asynccontextmanager
async def _stack() -> AsyncIterator[Stack]:
    with tempfile.TemporaryDirectory() as directory:
        files = Path(directory)
        async with stacked(files, files / "data") as stack:
            yield stack


async def main(what: Sequence[str], scale: float) -> None:
    """Print the results as JSON lines, and write them down where they are whole."""
    figures: dict[str, dict[str, Any]] = {}
    async with _stack() as stack:
        if "latency" in what:
            figures["latency"] = _shown("latency", await latency(stack, int(200 * scale)))
        if "memory" in what:
            figures["memory"] = _shown("memory", await memory(stack, int(1_000 * scale)))
        if "burst" in what:
            idle = await idle_and_burst(stack, int(5_000 * scale), int(1_000 * scale))
            figures["idle"] = _shown("idle and burst", idle)
    if len(figures) == len(WHAT) and scale == 1:
        PAGE.write_text(_page(**figures))


def _shown(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps({"benchmark": name, **figures}), flush=True)  # noqa: T201 - a program of its own
    return figures


def _page(latency: dict[str, Any], memory: dict[str, Any], idle: dict[str, Any]) -> str:
    burst = idle["burst"]
    cpu = " and ".join(f"{each} %" for each in idle["tracker_cpu_percent"])
    claimed = " and ".join(f"{each}" for each in idle["claimed_by_tracker"])
    return f"""# Live delivery, measured

`python -m benchmarks.live` wrote this page on {datetime.now(UTC):%d %B %Y}, on a machine with {machine()}:
two API replicas, two trackers, Postgres, Valkey, Temporal and the measuring clients all share it.

| What | Figure |
|---|---|
| An event, from its recording on one replica, through its commit to disk, to its frame at a subscriber of \
the other | median {latency["median_ms"]} ms, p95 {latency["p95_ms"]} ms, of {latency["events"]:,} |
| The same where commits do not wait for the disk | median {latency["delivery_median_ms"]} ms, \
p95 {latency["delivery_p95_ms"]} ms |
| An idle subscription on a WebSocket of its own | {memory["kib_each"]} KiB, of {memory["subscriptions"]:,} |
| CPU of each tracker over {idle["open_executions"]:,} open idle executions, of one core | {cpu} |
| Executions that each tracker follows then by long poll; the sweep carries the rest | {claimed} |
| {burst["completions"]:,} executions ended within {burst["ended_in_seconds"]} s: all recorded | \
{burst["recorded_after_the_last_end_seconds"]} s after the last, {burst["recorded_per_second"]:,} a second |

The trackers' CPU is that of their long polls, which Temporal lets go every 20 s or so, and of one sweep
a second.
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=WHAT)
    parser.add_argument("--scale", type=float, default=1.0, help="of the published sizes (1)")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.what, arguments.scale))
