"""What the tests of the tracker look at: the rows, the log, Temporal, and what the tracker asks of it."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlmodel import col, select, update
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest, UnpauseWorkflowExecutionRequest
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowHandle

from app import main, servers
from app.db import Connection, Database, Plans
from app.errors import Unavailable
from app.records import Draft
from app.settings import Settings
from app.store import events, tracking
from app.store.tracking import StartRequest
from app.tables import EventType, Execution, ExecutionEvent, ExecutionStatus
from app.temporal import WORKFLOW_ID_PREFIX, Closed, NotRunning, Temporal
from app.tracker import Tracker
from resolvers.context import Services
from tests import factories
from tests.client import Client
from tests.eventually import eventually

DEAD_ADDRESS = "127.0.0.1:9"
CLI_SECONDS = 20


class Observed(Temporal):
    """Temporal, counting what is asked of it and how many long polls are open."""

    def __init__(self, client: TemporalClient) -> None:
        super().__init__(client, 3.0)
        self.calls: Counter[str] = Counter()
        self.polls = 0
        self.most_polls = 0

    async def start(self, request: StartRequest) -> str:
        self.calls["start"] += 1
        return await super().start(request)

    async def history_length(self, workflow_id: str, run_id: str) -> int:
        self.calls["history length"] += 1
        return await super().history_length(workflow_id, run_id)

    async def history(
        self, workflow_id: str, run_id: str, *, wait: bool
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        self.calls["history"] += 1
        self.polls += wait
        self.most_polls = max(self.polls, self.most_polls)
        try:
            async for page in super().history(workflow_id, run_id, wait=wait):
                self.calls["pages"] += 1
                yield page
        finally:
            self.polls -= wait

    async def closed_since(self, prefix: str, since: datetime) -> AsyncIterator[list[Closed]]:
        self.calls["sweeps"] += 1
        async for page in super().closed_since(prefix, since):
            yield page


class Hasty(Observed):
    """Temporal as it is at times: a long poll that a pause has ended does not tell of the pause."""

    def __init__(self, client: TemporalClient) -> None:
        super().__init__(client)
        self.withheld = False

    async def history(
        self, workflow_id: str, run_id: str, *, wait: bool
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        async for page in super().history(workflow_id, run_id, wait=wait):
            told = [
                event for event in page if not event.HasField("workflow_execution_paused_event_attributes")
            ]
            if self.withheld or len(told) == len(page):
                yield page
                continue
            self.withheld = True
            if told:
                yield told
            return


class Deaf(Observed):
    """Temporal that says of every run that it does not have it."""

    async def history(
        self, workflow_id: str, run_id: str, *, wait: bool
    ) -> AsyncIterator[Sequence[HistoryEvent]]:
        raise NotRunning("no such run")
        yield []


class Breakable(Database):
    """A database that can be away for those who use it through this."""

    away = False

    @asynccontextmanager
    async def read(self, plans: Plans = Plans.FOR_EACH) -> AsyncIterator[Connection]:
        self._check()
        async with super().read(plans) as connection:
            yield connection

    def _check(self) -> None:
        if self.away:
            raise Unavailable("The database does not answer.")


@dataclass(frozen=True)
class Entry:
    """An event of an execution."""

    version: int
    type: str
    status: str
    message: str
    actor: str | None
    details: Any


@dataclass(frozen=True)
class Scene:
    """One test's database and user, beside Temporal's own client and command line."""

    services: Services
    settings: Settings
    alice: Client
    temporal: TemporalClient
    queue: str

    async def start(self, workflow_type: str, input: Any = None, client: Client | None = None) -> str:
        """An execution started through the API."""
        client = client or self.alice
        workflow = await factories.workflow(client, self.queue, workflow_type)
        return str((await factories.start(client, workflow, input))["id"])

    async def waiting(self, client: Client | None = None) -> str:
        """An execution that runs until it gets the signal `approve`."""
        return await self.start("GreetingWorkflow", "Ada", client)

    async def insert(self, workflow_type: str, **columns: Any) -> str:
        """An execution as an API process leaves it that dies before it calls Temporal, unless altered."""
        id, now = uuid4(), datetime.now(UTC)
        values = {
            "id": id,
            "owner_id": "alice",
            "workflow_id": UUID(await factories.workflow(self.alice, self.queue, workflow_type)),
            "status": ExecutionStatus.PENDING,
            "started_by": "alice",
            "temporal_workflow_id": workflow_id(str(id)),
            "created_at": now,
            "updated_at": now,
        }
        async with self.services.db.write() as tx:
            await events.create(tx, {**values, **columns}, Draft(EventType.EXECUTION_CREATED, "Created", now))
        return str(id)

    async def change(self, id: str, **columns: Any) -> None:
        """Alter the execution's row behind everyone's back."""
        async with self.services.db.write() as tx:
            await tracking.advance(tx, UUID(id), **columns)

    async def age(self, id: str, by: timedelta) -> None:
        """Have the execution's events recorded that much earlier."""
        earlier = col(ExecutionEvent.recorded_at) - by
        async with self.services.db.write() as tx:
            await tx.connection.execute(
                update(ExecutionEvent)
                .where(col(ExecutionEvent.execution_id) == UUID(id))
                .values(recorded_at=earlier)
            )

    async def row(self, id: str) -> Execution:
        """The execution as Postgres has it."""
        async with self.services.db.read() as connection:
            table = Execution.__table__  # type: ignore[attr-defined]  # SQLModel declares it at run time
            found = (await connection.execute(select(table).where(table.c.id == UUID(id)))).one()
        return Execution(**found._asdict())

    async def log(self, id: str) -> list[Entry]:
        """The execution's events, whose versions must be dense."""
        query = (
            select(*(col(getattr(ExecutionEvent, field.name)) for field in fields(Entry)))
            .where(col(ExecutionEvent.execution_id) == UUID(id))
            .order_by(col(ExecutionEvent.position))
        )
        async with self.services.db.read() as connection:
            log = [Entry(*row) for row in (await connection.execute(query)).all()]
        assert [entry.version for entry in log] == list(range(1, len(log) + 1))
        return log

    async def types(self, id: str) -> list[str]:
        return [str(entry.type) for entry in await self.log(id)]

    async def reaches(self, id: str, *types: str) -> list[Entry]:
        """The log once it holds these types, and nothing else, after CREATED and STARTED."""
        expected = ["EXECUTION_CREATED", "EXECUTION_STARTED", *types]

        async def level() -> bool:
            found = await self.types(id)
            assert found == expected, found
            return True

        await eventually(level, timeout_seconds=30)
        return await self.log(id)

    async def ends(self, id: str) -> Execution:
        """The execution once it has ended."""

        async def ended() -> Execution | None:
            row = await self.row(id)
            return row if row.completed_at is not None else None

        found: Execution = await eventually(ended, timeout_seconds=30)
        return found

    def handle(self, id: str) -> WorkflowHandle[Any, Any]:
        return self.temporal.get_workflow_handle(workflow_id(id))

    async def history_reaches(self, id: str, attributes: str) -> None:
        """Wait until Temporal's history has an event of that kind."""

        async def seen() -> bool:
            found = [each async for each in self.handle(id).fetch_history_events()]
            return any(each.WhichOneof("attributes") == attributes for each in found)

        await eventually(seen)

    async def approve(self, id: str) -> None:
        await self.handle(id).signal("approve")

    async def pause(self, id: str, reason: str) -> None:
        await self.temporal.workflow_service.pause_workflow_execution(
            PauseWorkflowExecutionRequest(
                namespace="default", workflow_id=workflow_id(id), request_id=uuid4().hex, reason=reason
            )
        )

    async def unpause(self, id: str, reason: str) -> None:
        await self.temporal.workflow_service.unpause_workflow_execution(
            UnpauseWorkflowExecutionRequest(
                namespace="default", workflow_id=workflow_id(id), request_id=uuid4().hex, reason=reason
            )
        )

    async def cli(self, command: str, id: str, *arguments: str) -> None:
        """`temporal workflow <command>` on the execution."""
        process = await asyncio.create_subprocess_exec(
            servers._temporal_binary(),
            *("workflow", command, "--workflow-id", workflow_id(id)),
            *("--address", str(self.settings.temporal_address), "--namespace", "default"),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), CLI_SECONDS)
        assert process.returncode == 0, output.decode()

    def observed(self) -> Observed:
        return Observed(self.temporal)

    @asynccontextmanager
    async def tracker(
        self, temporal: Temporal | None = None, db: Database | None = None, **settings: Any
    ) -> AsyncIterator[Tracker]:
        """A tracker in this process, with these settings altered."""
        services = self.services
        options = main._tracker_options(self.settings.model_copy(update=settings))
        tracker = Tracker(db or services.db, services.bus, temporal or services.temporal, options)
        task = asyncio.create_task(tracker.run())
        try:
            yield tracker
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def workflow_id(id: str) -> str:
    return f"{WORKFLOW_ID_PREFIX}{id}"


def followed(tracker: Tracker) -> set[str]:
    """The executions that the tracker follows."""
    return {str(id) for id in tracker._followers}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in ours(caplog) if record.levelno >= logging.WARNING]


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in ours(caplog) if record.levelno >= logging.ERROR or record.exc_info
    ]


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged, without what the worker tells of its workflows: it serves all tests."""
    return [record for record in caplog.records if not record.name.startswith("temporalio.worker")]
