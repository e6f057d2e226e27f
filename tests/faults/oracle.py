"""What must have been delivered: the log by Postgres, the log by Temporal's own histories."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import asyncpg
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from app.history import Transcript
from tests.eventually import eventually
from tests.faults.subscribers import Event, Subscriber

STATUSES = {
    WorkflowExecutionStatus.COMPLETED: "COMPLETED",
    WorkflowExecutionStatus.FAILED: "FAILED",
    WorkflowExecutionStatus.CANCELED: "CANCELLED",
}
# The API records it at once, with its own clock, maybe before what the tracker has still to read.
REQUESTED = "EXECUTION_CANCEL_REQUESTED"
NEVER_STARTED = ["EXECUTION_CREATED", "EXECUTION_CANCELLED"]
BEGINNING = ["EXECUTION_CREATED", "EXECUTION_STARTED"]
AT_ONCE = 10


@dataclass(frozen=True)
class Entry:
    """A row of the log, with its time."""

    event: Event
    timestamp: datetime


@dataclass(frozen=True)
class Row:
    """An execution as Postgres has it."""

    id: str
    status: str
    version: int
    temporal_workflow_id: str


@dataclass(frozen=True)
class Verdict:
    """How many events were delivered to subscribers, and how many of them wrongly."""

    delivered: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    foreign: int = 0

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            *(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    def check(self) -> None:
        """Fail unless all is right."""
        assert (self.lost, self.doubled, self.disordered, self.foreign) == (0, 0, 0, 0), self
        assert self.delivered


async def rows(database: asyncpg.Pool, owner: str) -> list[Row]:
    """An owner's executions."""
    found = await database.fetch(
        "SELECT id::text, status, version, temporal_workflow_id FROM execution WHERE owner_id = $1", owner
    )
    return [Row(**row) for row in found]


async def log(database: asyncpg.Pool, owner: str) -> list[Entry]:
    """An owner's events in the feed's order."""
    found = await database.fetch(
        "SELECT position, execution_id::text, version, type, status, timestamp"
        " FROM execution_event WHERE owner_id = $1 ORDER BY position",
        owner,
    )
    return [Entry(Event(*list(row.values())[:5]), row["timestamp"]) for row in found]


def judge(subscriber: Subscriber, entries: Sequence[Entry]) -> Verdict:
    """Compare what a subscriber received with all that it should have."""
    watched = subscriber.execution_id
    due = [entry.event for entry in entries if watched in (None, entry.event.execution_id)]
    got = [receipt.event for receipt in subscriber.receipts]
    places = [event.position for event in got]
    return Verdict(
        delivered=len(got),
        lost=len(set(due) - set(got)),
        doubled=sum(count - 1 for count in Counter(places).values()),
        disordered=sum(later < earlier for earlier, later in pairwise(places)),
        foreign=len(set(got) - set(due)),
    )


async def check_log(client: Client, executions: Sequence[Row], entries: Sequence[Entry]) -> None:
    """Fail unless the log is dense and each execution's part of it is what Temporal tells."""
    assert [entry.event.position for entry in entries] == list(range(1, len(entries) + 1))
    gate = asyncio.Semaphore(AT_ONCE)

    async def check(row: Row) -> None:
        async with gate:
            await _check_execution(client, row, [e for e in entries if e.event.execution_id == row.id])

    await asyncio.gather(*map(check, executions))


async def _check_execution(client: Client, row: Row, entries: Sequence[Entry]) -> None:
    assert [entry.event.version for entry in entries] == list(range(1, row.version + 1)), row
    if [entry.event.type for entry in entries] == NEVER_STARTED:
        await _check_withdrawn(client, row)
        return
    assert [entry.event.type for entry in entries[:2]] == BEGINNING, row
    told = await _told(client, row)
    kept = [(entry.event.type, entry.timestamp) for entry in entries[2:]]
    assert _without_request(kept) == _without_request(told), row
    assert sum(type == REQUESTED for type, _ in kept) == sum(type == REQUESTED for type, _ in told), row
    description = await client.get_workflow_handle(row.temporal_workflow_id).describe()
    assert description.status is not None
    assert STATUSES[description.status] == row.status == entries[-1].event.status, row


async def _check_withdrawn(client: Client, row: Row) -> None:
    """Temporal never had what was cancelled before its start, or a tracker ends it there."""
    assert row.status == "CANCELLED", row

    async def gone() -> bool:
        try:
            description = await client.get_workflow_handle(row.temporal_workflow_id).describe()
        except RPCError as error:
            return error.status is RPCStatusCode.NOT_FOUND
        return description.status is WorkflowExecutionStatus.TERMINATED

    await eventually(gone, 30)


async def _told(client: Client, row: Row) -> list[tuple[str, datetime]]:
    """Temporal's history of an execution in our words, after its start."""
    transcript, told = Transcript(), list[tuple[str, datetime]]()
    async for event in client.get_workflow_handle(row.temporal_workflow_id).fetch_history_events():
        draft = transcript.read(event).draft
        if draft is not None:
            told.append((draft.type.value, draft.timestamp.astimezone(UTC)))
    assert told[0][0] == "EXECUTION_STARTED"
    return told[1:]


def _without_request(told: Sequence[tuple[str, datetime]]) -> list[tuple[str, datetime]]:
    return [(type, moment) for type, moment in told if type != REQUESTED]
