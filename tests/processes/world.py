"""What Postgres and Temporal themselves say, past the processes under test."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
from temporalio.api.enums.v1 import EventType as Kind
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from tests.eventually import eventually
from tests.processes.commands import PATIENCE_SECONDS

ACTIVITY = ["ACTIVITY_SCHEDULED", "ACTIVITY_STARTED", "ACTIVITY_COMPLETED"]
ORDER = [
    "EXECUTION_CREATED",
    "EXECUTION_STARTED",
    *ACTIVITY * 2,
    "TIMER_STARTED",
    "TIMER_FIRED",
    *ACTIVITY * 2,
    "EXECUTION_COMPLETED",
]

# How Temporal's history reads as ours: not taken from the code under test. The start is left out: its time
# is ours where the API or the starter recorded it, Temporal's where the tracker did.
MAPPED = {
    Kind.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: "ACTIVITY_SCHEDULED",
    Kind.EVENT_TYPE_ACTIVITY_TASK_STARTED: "ACTIVITY_STARTED",
    Kind.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: "ACTIVITY_COMPLETED",
    Kind.EVENT_TYPE_TIMER_STARTED: "TIMER_STARTED",
    Kind.EVENT_TYPE_TIMER_FIRED: "TIMER_FIRED",
    Kind.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: "SIGNAL_RECEIVED",
    Kind.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: "EXECUTION_COMPLETED",
}


@dataclass(frozen=True)
class Row:
    """An execution as Postgres has it."""

    id: str
    status: str
    version: int
    start_unsettled: bool
    temporal_workflow_id: str
    temporal_run_id: str | None


@dataclass(frozen=True)
class Entry:
    """A row of the event log."""

    type: str
    version: int
    position: int
    timestamp: datetime


@dataclass(frozen=True)
class World:
    """One test's database, and its own task queue on Temporal."""

    database: asyncpg.Pool
    temporal: Client
    queue: str

    async def rows(self) -> list[Row]:
        """All executions, oldest first."""
        columns = "id::text, status, version, start_unsettled, temporal_workflow_id, temporal_run_id"
        found = await self.database.fetch(f"SELECT {columns} FROM execution ORDER BY created_at")
        return [Row(**each) for each in found]

    async def newest(self) -> Row:
        return (await self.rows())[-1]

    async def log(self, row: Row | None = None) -> list[Entry]:
        """The events of one execution or of all, in the feed's order."""
        query = (
            "SELECT type, version, position, timestamp FROM execution_event"
            " WHERE $1::text IS NULL OR execution_id::text = $1 ORDER BY position"
        )
        return [Entry(**each) for each in await self.database.fetch(query, row and row.id)]

    async def until_recorded(self, count: int) -> None:
        """Wait until the feed has so many events."""
        await until(self._has(count))

    async def until_tracked_by(self, count: int) -> None:
        """Wait until so many trackers live."""
        living = "SELECT count(*) = $1 FROM tracker WHERE alive_until > now()"
        await until(lambda: self.database.fetchval(living, count))

    async def until_settled(self) -> None:
        """Wait until no start is left to be settled."""
        await until(self._all(lambda row: not row.start_unsettled))

    async def until_completed(self) -> None:
        """Wait until every execution has."""
        await until(self._all(lambda row: row.status == "COMPLETED"))

    async def until_on_temporal(self, row: Row) -> None:
        """Wait until Temporal has started the execution, whoever knows."""
        await until(lambda: self.state(row))

    async def state(self, row: Row) -> WorkflowExecutionStatus | None:
        """What Temporal has of an execution; None for nothing."""
        try:
            return (await self.temporal.get_workflow_handle(row.temporal_workflow_id).describe()).status
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None

    async def runs(self, at_least: int = 0) -> dict[str, WorkflowExecutionStatus | None]:
        """The runs that were ever started on the test's queue, once Temporal's visibility has so many."""

        async def listed() -> tuple[dict[str, WorkflowExecutionStatus | None]]:
            runs = self.temporal.list_workflows(f"TaskQueue = '{self.queue}'")
            found = {run.run_id: run.status async for run in runs}
            assert len(found) >= at_least
            return (found,)

        [found] = await until(listed)
        return dict(found)

    async def history(self, row: Row) -> list[tuple[str, datetime]]:
        """The run as Temporal tells it, after its start, in our words."""
        handle = self.temporal.get_workflow_handle(row.temporal_workflow_id, run_id=row.temporal_run_id)
        events = [event async for event in handle.fetch_history_events()]
        return [
            (MAPPED[event.event_type], event.event_time.ToDatetime(tzinfo=UTC))
            for event in events
            if event.event_type in MAPPED
        ]

    async def signal_all(self, name: str) -> None:
        """Signal every execution on Temporal itself."""
        handles = [self.temporal.get_workflow_handle(row.temporal_workflow_id) for row in await self.rows()]
        await asyncio.gather(*(handle.signal(name) for handle in handles))

    async def until_steps_taken(self, count: int) -> None:
        """Wait until every execution has completed so many activities on Temporal itself."""

        async def taken() -> bool:
            histories = [[type for type, _ in await self.history(row)] for row in await self.rows()]
            return all(history.count("ACTIVITY_COMPLETED") == count for history in histories)

        await until(taken)

    async def check_told_once(self, types: Sequence[str], count: int) -> None:
        """So many executions ran, each once; each log is Temporal's own history, and the feed has no hole."""
        rows = await self.rows()
        assert len(rows) == count
        for row in rows:
            log = await self.log(row)
            assert [entry.type for entry in log] == types
            assert [entry.version for entry in log] == places(log)
            assert [(entry.type, entry.timestamp) for entry in log[2:]] == await self.history(row)
            assert (row.status, row.version, row.start_unsettled) == ("COMPLETED", len(types), False)
        feed = await self.log()
        assert [entry.position for entry in feed] == places(feed)
        completed = {str(row.temporal_run_id): WorkflowExecutionStatus.COMPLETED for row in rows}

        async def told() -> bool:
            return await self.runs(count) == completed

        await until(told)

    def _all(self, holds: Callable[[Row], bool]) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return all(holds(row) for row in await self.rows())

        return check

    def _has(self, count: int) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            return len(await self.log()) >= count

        return check


async def until(check: Callable[[], Any]) -> Any:
    """What `check` answers once it is true."""
    return await eventually(check, PATIENCE_SECONDS)


def places(log: Sequence[Entry]) -> list[int]:
    return list(range(1, len(log) + 1))
