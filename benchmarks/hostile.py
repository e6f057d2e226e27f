"""What other users notice of an attack: `python -m benchmarks.hostile` writes docs/hostile.md.

Each attack runs in a process of its own against one replica, while a user asks for a list ten times a second
and follows a feed; the attackers share the machine's cores with everything else.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import websockets

from benchmarks.processes import cpu_seconds
from tests import factories
from tests.client import Api, Client, connected
from tests.faults.record import machine
from tests.faults.stack import stacked
from tests.hostile.wire import Wire, request, wired
from tests.processes.commands import Replica, resident_bytes

PAGE = Path(__file__).parents[1] / "docs" / "hostile.md"
LIST = "{ executions(first: 10) { totalCount nodes { id status version createdAt } } }"
PERIOD_SECONDS = 0.1
CONNECTIONS = 1_000
PACE_SECONDS = 0.02
NOBODY = "nobody-polls-this-queue"

Attack = Callable[[Api, str], Awaitable[None]]


async def nothing(api: Api, token: str) -> None:
    """No attack"""
    await asyncio.sleep(3_600)


async def heads(api: Api, token: str) -> None:
    """1,000 connections whose heads drip, a byte a second"""
    await _hold(api, b"POST /graphql HTTP/1.1\r\nHost: x\r\nX-A: ", b"a")


async def bodies(api: Api, token: str) -> None:
    """1,000 connections whose bodies drip, a byte a second"""
    await _hold(api, request(token, b"", length=900_000), b" ")


async def silence(api: Api, token: str) -> None:
    """1,000 connections that send nothing"""
    await _hold(api, b"", b"")


async def sockets(api: Api, token: str) -> None:
    """1,000 WebSockets without connection_init, opened again as they are closed"""

    async def one() -> None:
        while True:
            with suppress(OSError, websockets.WebSocketException, TimeoutError):
                async with connected(api) as connection:
                    await connection.wait_closed()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


async def large(api: Api, token: str) -> None:
    """Bodies of 16 MB, one after the other"""
    kind = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(timeout=60) as http:
        while True:
            await http.post(api.url, content=b" " * 16_000_000, headers=kind)


async def nonsense(api: Api, token: str) -> None:
    """50 requests a second that are no HTTP"""
    while True:
        async with wired(api) as wire:
            await wire.send("hello\r\n\r\n")
            await wire.closed()
        await asyncio.sleep(PACE_SECONDS)


async def refusals(api: Api, token: str) -> None:
    """50 operations a second that are refused: unknown fields, no token, batches of 1,000"""
    good = {"Authorization": f"Bearer {token}"}
    batch = [{"query": "{ viewer { id } }"}] * 1_000
    async with httpx.AsyncClient() as http:
        while True:
            await http.post(api.url, json={"query": "{ nonsense }"}, headers=good)
            await http.post(api.url, json={"query": "{ viewer { id } }"})
            await http.post(api.url, json=batch, headers=good)
            await asyncio.sleep(3 * PACE_SECONDS)


async def frames(api: Api, token: str) -> None:
    """50 WebSockets a second that are closed for their frames"""
    while True:
        with suppress(websockets.ConnectionClosed):
            async with connected(api) as connection:
                await connection.send("[" * 100_000)
                await connection.recv()
        await asyncio.sleep(PACE_SECONDS)


async def row(api: Api, token: str) -> None:
    """500 requests in a row on one connection, ten times a second"""
    while True:
        async with wired(api) as wire:
            await wire.send(request(token) * 500)
            await wire.closed()
        await asyncio.sleep(5 * PACE_SECONDS)


ATTACKS: tuple[Attack, ...] = (
    nothing,
    silence,
    heads,
    bodies,
    sockets,
    large,
    nonsense,
    refusals,
    frames,
    row,
)


async def _hold(api: Api, begin: bytes, piece: bytes) -> None:
    """Connections that are held as long as the server lets them, and opened again."""

    async def one() -> None:
        while True:
            with suppress(OSError, TimeoutError):
                async with wired(api) as wire:
                    await wire.send(begin)
                    await _drip(wire, piece)

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


async def _drip(wire: Wire, piece: bytes) -> None:
    while not wire.reader.at_eof():
        await asyncio.sleep(1)
        await wire.send(piece)


@dataclass(frozen=True)
class Figures:
    """What a user noticed of one attack."""

    attack: str
    asked: int
    failed: int
    median_ms: float
    p95_ms: float
    event_p95_ms: float
    cpu_percent: float
    memory_mb: float

    def __str__(self) -> str:
        return (
            f"| {self.attack} | {self.asked} | {self.failed} "
            f"| {self.median_ms:.1f} ms | {self.p95_ms:.1f} ms "
            f"| {self.event_p95_ms:.1f} ms | {self.cpu_percent:.0f} % | {self.memory_mb:.0f} MB |"
        )


async def measured(replica: Replica, attack: Attack, seconds: float) -> Figures:
    """The user's figures, from two seconds after the attack's begin on."""
    attacker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.hostile",
        "--attack",
        attack.__name__,
        "--port",
        str(replica.api.port),
    )
    try:
        await asyncio.sleep(2)
        began, before = time.monotonic(), cpu_seconds(replica.process.pid)
        lags, failed, events = await _ask(replica.api, seconds)
        cpu = (cpu_seconds(replica.process.pid) - before) / (time.monotonic() - began)
    finally:
        attacker.kill()
        await attacker.wait()
    return Figures(
        attack=(attack.__doc__ or "").strip(),
        asked=len(lags) + failed,
        failed=failed,
        median_ms=statistics.median(lags),
        p95_ms=_p95(lags),
        event_p95_ms=_p95(events),
        cpu_percent=100 * cpu,
        memory_mb=resident_bytes(replica.process.pid) / 1e6,
    )


async def _ask(api: Api, seconds: float) -> tuple[list[float], int, list[float]]:
    lags: list[float] = []
    events: list[float] = []
    failed = 0
    async with AsyncExitStack() as exits:
        user = await exits.enter_async_context(api.client("bystander"))
        socket = await exits.enter_async_context(user.socket())
        await socket.subscribe("1", "subscription { executionFeed { cursor } }")
        workflow = await factories.workflow(user, NOBODY)
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            try:
                await user.data(LIST)
                lags.append((time.monotonic() - began) * 1_000)
                started = time.monotonic()
                await _start(user, workflow)
                await socket.receive()
                events.append((time.monotonic() - started) * 1_000)
                await socket.receive()
            except (AssertionError, httpx.HTTPError, OSError):
                failed += 1
            await asyncio.sleep(max(0.0, PERIOD_SECONDS - (time.monotonic() - began)))
    return lags, failed, events


async def _start(user: Client, workflow: str) -> None:
    await factories.start(user, workflow)


def _p95(lags: list[float]) -> float:
    return sorted(lags)[int(len(lags) * 0.95)]


async def main(seconds: float) -> None:
    """Run every attack, print the figures, and write the page."""
    lines = []
    with tempfile.TemporaryDirectory() as directory:
        files = Path(directory)
        async with stacked(files, files / "data") as stack:
            for attack in ATTACKS:
                replica = await stack.serve()
                figures = await measured(replica, attack, seconds)
                await replica.killed()
                lines.append(str(figures))
                print(figures, flush=True)  # noqa: T201 - a program of its own
    PAGE.write_text(_page(lines))


def _page(lines: list[str]) -> str:
    rows = "\n".join(lines)
    return f"""# Under attack, measured

`python -m benchmarks.hostile` wrote this page on {datetime.now(UTC):%d %B %Y}, on a machine with
{machine()}. One attacker in a process of its own, one replica, the trackers, Postgres, Valkey,
Temporal and the user who is measured share it. The user asks for a list of ten executions about ten times
a second, starts one each time, and waits for its first event on a WebSocket.

* **Asked**, **failed**: the user's rounds, and those that were not answered well.
* **List**: from the request to the answer. **Event**: from the start's request to its first event.
* **CPU**, **memory**: of the replica, during its attack, in percent of a core, and at its end.

The attackers, and whatever else ran on the machine, work on the same cores and so take from the user's time;
the replica's CPU is what an attack costs by itself.

| Attack | Asked | Failed | List, median | List, p95 | Event, p95 | CPU | Memory |
|---|---|---|---|---|---|---|---|
{rows}
"""


async def _attack(name: str, port: int) -> None:
    attack = next(each for each in ATTACKS if each.__name__ == name)
    api = Api(port)
    await attack(api, api.client("attacker").token)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each attack (20)")
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.attack:
        asyncio.run(_attack(arguments.attack, arguments.port))
    else:
        asyncio.run(main(arguments.seconds))
