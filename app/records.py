"""What the store returns and the resolvers pass on: plain values, read-only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from app.tables import EventType, ExecutionStatus, FailureReason


class WorkflowRecord(NamedTuple):
    """A workflow without its `input_schema`, which is read only when selected."""

    id: UUID
    owner_id: str
    name: str
    description: str | None
    workflow_type: str
    task_queue: str
    execution_timeout: int | None
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """Why an execution failed; kept as JSON in its row."""

    reason: FailureReason
    message: str
    type: str | None = None
    activity_type: str | None = None
    stack_trace: str | None = None


class ExecutionRecord(NamedTuple):
    """An execution without its `input` and `output`, which are read only when selected."""

    id: UUID
    owner_id: str
    workflow_id: UUID
    status: ExecutionStatus
    version: int
    failure: dict[str, Any] | None
    labels: dict[str, str]
    rerun_of: UUID | None
    started_by: str
    temporal_workflow_id: str
    temporal_run_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class PendingActivityRecord:
    """An activity of an open execution, as Temporal has it now."""

    activity_id: str
    activity_type: str
    state: str
    attempt: int
    last_failure: str | None
    last_heartbeat: Any
    scheduled_at: datetime | None
    next_attempt_at: datetime | None


class EventRecord(NamedTuple):
    """An event at its place in the feed; `recorded_at` is by our clock, `timestamp` by that of its cause."""

    owner_id: str
    position: int
    execution_id: UUID
    version: int
    type: EventType
    status: ExecutionStatus
    message: str
    timestamp: datetime
    actor: str | None
    details: Any
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has a place: with what it changes on its execution."""

    type: EventType
    message: str
    timestamp: datetime
    status: ExecutionStatus | None = None
    actor: str | None = None
    details: Any = None
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event with its execution as it was then or later: what a subscriber receives."""

    event: EventRecord
    execution: ExecutionRecord


def encode(delivery: Delivery) -> str:
    """The JSON text of a delivery; `decode` turns it back."""
    # asyncpg has a UUID class of its own.
    parts = (tuple(delivery.event), tuple(delivery.execution))
    return orjson.dumps(parts, default=str).decode()


def decode(text: str) -> Delivery:
    """The delivery in a text that `encode` made; raises ValueError for any other, an older version's too."""
    try:
        event, execution = orjson.loads(text)
        return Delivery(_event(_named(EventRecord, event)), _execution(_named(ExecutionRecord, execution)))
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise ValueError("not a delivery") from error


def _named(kind: type[EventRecord | ExecutionRecord], values: Any) -> dict[str, Any]:
    return dict(zip(kind._fields, values, strict=True))


def _event(fields: dict[str, Any]) -> EventRecord:
    fields["execution_id"] = UUID(fields["execution_id"])
    fields["type"] = EventType(fields["type"])
    fields["status"] = ExecutionStatus(fields["status"])
    for name in ("timestamp", "recorded_at"):
        fields[name] = _moment(fields[name])
    return EventRecord(**fields)


def _execution(fields: dict[str, Any]) -> ExecutionRecord:
    for name in ("id", "workflow_id"):
        fields[name] = UUID(fields[name])
    for name in ("created_at", "started_at", "completed_at", "updated_at"):
        fields[name] = _moment(fields[name])
    fields["status"] = ExecutionStatus(fields["status"])
    fields["rerun_of"] = None if fields["rerun_of"] is None else UUID(fields["rerun_of"])
    return ExecutionRecord(**fields)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
