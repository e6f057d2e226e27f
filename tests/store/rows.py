"""What the store's tests begin with, written as the application writes it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from app.auth import ADMIN, USER_SCOPES, Caller
from app.db import Database
from app.deliveries import Delivery
from app.records import Draft, EventRecord, ExecutionRecord, Payloads, WorkflowRecord, value
from app.rendering import Rendered
from app.store import events, executions, workflows
from app.store.tracking import Run
from app.tables import EventType, ExecutionStatus

NOW = datetime(2026, 1, 8, 12, 0, 0, 123_456, UTC)


def caller(owner: str, *scopes: str) -> Caller:
    return Caller(owner, owner, frozenset(scopes or USER_SCOPES), datetime(2100, 1, 1, tzinfo=UTC))


ALICE, BOB, ROOT = caller("alice"), caller("bob"), caller("root", ADMIN)


def draft(
    type: EventType = EventType.SIGNAL_RECEIVED,
    status: ExecutionStatus | None = None,
    message: str = "",
    **changes: Any,
) -> Draft:
    return Draft(type, message or type.value.capitalize(), NOW, status, changes=changes)


def completed(seconds: float) -> Draft:
    """The end of an execution that began at NOW."""
    end = NOW + timedelta(seconds=seconds)
    return draft(EventType.EXECUTION_COMPLETED, ExecutionStatus.COMPLETED, started_at=NOW, completed_at=end)


STARTED = draft(EventType.EXECUTION_STARTED, ExecutionStatus.RUNNING, started_at=NOW)
COMPLETED = draft(EventType.EXECUTION_COMPLETED, ExecutionStatus.COMPLETED, completed_at=NOW)
FAILED = draft(EventType.EXECUTION_FAILED, ExecutionStatus.FAILED, completed_at=NOW)


@dataclass(frozen=True)
class Rows:
    """Workflows, executions and events in one database."""

    db: Database

    async def workflow(self, owner: str = "alice", **more: Any) -> WorkflowRecord:
        """A registered workflow."""
        values = {
            "owner_id": owner,
            "name": "Order",
            "workflow_type": "OrderWorkflow",
            "task_queue": "orders",
            "created_at": NOW,
            "updated_at": NOW,
        }
        async with self.db.write() as tx:
            return await workflows.create(tx, {**values, **more})

    async def pending(self, workflow: WorkflowRecord | None = None, **more: Any) -> ExecutionRecord:
        """An execution with its first event, of a workflow of alice's unless one is given."""
        workflow = workflow or await self.workflow()
        id = uuid4()
        values = {
            "id": id,
            "owner_id": workflow.owner_id,
            "workflow_id": workflow.id,
            "status": ExecutionStatus.PENDING,
            "started_by": workflow.owner_id,
            "temporal_workflow_id": f"temporal-graphql-{id}",
            "created_at": NOW,
            "updated_at": NOW,
        }
        async with self.db.write() as tx:
            delivery = await events.create(tx, {**values, **more}, draft(EventType.EXECUTION_CREATED))
        return delivery.execution

    async def running(self, workflow: WorkflowRecord | None = None, **more: Any) -> ExecutionRecord:
        """An execution whose start is recorded, as the starter does it."""
        execution = await self.pending(workflow, **more)
        settled = {"next_history_event": 2, "start_unsettled": False}
        async with self.db.write() as tx:
            (delivery,) = await events.append(
                tx, execution, [STARTED], temporal_run_id=str(uuid4()), **settled
            )
        return delivery.execution

    async def append(self, execution_id: UUID, *drafts: Draft) -> list[Delivery]:
        """Append events to the execution as it is now, its row locked."""
        async with self.db.write() as tx:
            return await events.append(tx, await executions.lock(tx, ROOT, execution_id), drafts)

    async def execution(self, execution_id: UUID) -> ExecutionRecord:
        """The execution as it is now."""
        async with self.db.read() as connection:
            return await executions.get(connection, ROOT, execution_id)

    async def feed(self, owner: str = "alice", after: int = 0) -> list[EventRecord]:
        """An owner's events."""
        async with self.db.read() as connection:
            return [delivery.event for delivery in await events.after(connection, owner, after, 100_000)]


def run_of(execution: ExecutionRecord) -> Run:
    """The run that the execution is in."""
    assert execution.temporal_run_id is not None
    return Run(execution.id, execution.owner_id, execution.temporal_workflow_id, execution.temporal_run_id)


def told(payloads: Payloads) -> tuple[Any, Any]:
    """What the JSON of an execution's payloads says."""
    return value(payloads.input), value(payloads.output)


def json_of(found: Rendered) -> Any:
    """What the JSON of a rendered object says."""
    return value(found.json)
