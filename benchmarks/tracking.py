"""What a tracker costs: over ever more open executions that nothing happens to, and when many end at once."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from temporalio.client import Client

from benchmarks import documents, load
from benchmarks.contestants import PRODUCT, TRACKER, Run, Stage, operation
from benchmarks.data import Rows
from benchmarks.measures import CONNECTIONS, Figures, say
from benchmarks.processes import Process, cpu_seconds
from tests.eventually import eventually

OPEN = (100, 1_000, 5_000)
ENDED_AT_MOST = 1_000
IDLE_SECONDS, SHORTEST_SECONDS = 15.0, 1.5
SETTLE_SECONDS, PATIENCE_SECONDS = 5.0, 120.0
AT_ONCE = 25
PERCENT = 100

_STARTED = "temporal_run_id IS NOT NULL"
_OPEN = f"SELECT temporal_workflow_id AS id FROM execution WHERE status = 'RUNNING' AND {_STARTED} LIMIT $1"  # noqa: S608
_ENDED = f"SELECT count(*) FROM execution WHERE status = 'FAILED' AND {_STARTED}"  # noqa: S608


async def tracking(stage: Stage, run: Run, rows: Rows) -> dict[str, Any]:
    """The figures by number of open executions."""
    assert stage.temporal_address
    temporal = await Client.connect(stage.temporal_address)
    database = await asyncpg.connect(stage.database_url)
    async with PRODUCT.served(stage) as product, TRACKER.served(stage) as tracker:
        trial = Trial(product, tracker, temporal, database, stage.postgres_pid)
        found = {}
        seconds = max(IDLE_SECONDS * run.scale, SHORTEST_SECONDS)
        for count in (max(int(open * run.scale), AT_ONCE) for open in OPEN):
            found[str(count)] = await trial.measure(rows.workflow_id, count, seconds)
            say(f"  {count:,} open: {_line(found[str(count)])}")
    await database.close()
    return found


@dataclass(frozen=True)
class Trial:
    """A replica that starts executions, and the tracker that is measured."""

    product: Process
    tracker: Process
    temporal: Client
    database: "asyncpg.Connection[asyncpg.Record]"
    postgres_pid: int

    async def measure(self, workflow: UUID, count: int, seconds: float) -> Figures:
        """Of so many open executions: idle, then while some of them end."""
        await self._open(workflow, count)
        await asyncio.sleep(SETTLE_SECONDS)
        return {**await self._idle(seconds), **await self._burst(min(count, ENDED_AT_MOST))}

    async def _open(self, workflow: UUID, count: int) -> None:
        missing = count - len(await self.database.fetch(_OPEN, count))
        start = operation(documents.START, input={"workflowId": str(workflow), "input": None})
        await load.drive_through(self.product.port, [start] * missing, CONNECTIONS)

    async def _idle(self, seconds: float) -> Figures:
        before, postgres_before = self.tracker.cpu_seconds(), cpu_seconds(self.postgres_pid)
        await asyncio.sleep(seconds)
        return {
            "idle_percent": (self.tracker.cpu_seconds() - before) / seconds * PERCENT,
            "idle_postgres_percent": (cpu_seconds(self.postgres_pid) - postgres_before) / seconds * PERCENT,
        }

    async def _burst(self, count: int) -> Figures:
        """Executions ended on Temporal behind the product's back: one event each to find and record."""
        ids = [row["id"] for row in await self.database.fetch(_OPEN, count)]
        expected, cpu = await self._ended() + count, self.tracker.cpu_seconds()
        began = time.monotonic()
        for some in _batches(ids):
            await asyncio.gather(*(self.temporal.get_workflow_handle(id).terminate() for id in some))
        ended = time.monotonic()
        await eventually(lambda: self._has_recorded(expected), PATIENCE_SECONDS)
        recorded, used = time.monotonic(), self.tracker.cpu_seconds() - cpu
        return {
            "completions": count,
            "ended_in_seconds": ended - began,
            "recorded_after_seconds": recorded - ended,
            "recorded_per_second": count / (recorded - began),
            "recorded_per_cpu_second": count / used,
        }

    async def _ended(self) -> int:
        return int(await self.database.fetchval(_ENDED))

    async def _has_recorded(self, expected: int) -> bool:
        return await self._ended() >= expected


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[place : place + AT_ONCE] for place in range(0, len(ids), AT_ONCE))


def _line(found: Figures) -> str:
    return (
        f"{found['idle_percent']:.1f} % idle; {found['completions']:.0f} ended: all recorded "
        f"{found['recorded_after_seconds']:.1f} s after the last, "
        f"{found['recorded_per_cpu_second']:.0f} for a CPU second"
    )
