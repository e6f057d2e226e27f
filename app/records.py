"""What the store returns and the resolvers pass on: plain values, read-only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Self
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
class Startable:
    """A workflow and what its executions' input must satisfy; the row has another version once it changes."""

    workflow: WorkflowRecord
    input_schema: Any
    row_version: str


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """Why an execution failed; kept as JSON in its row."""

    reason: FailureReason
    message: str
    type: str | None = None
    activity_type: str | None = None
    stack_trace: str | None = None


class Payloads(NamedTuple):
    """An execution's input and output as the JSON that Postgres has; None for null."""

    input: orjson.Fragment | None
    output: orjson.Fragment | None

    @classmethod
    def of(cls, input: str | None, output: str | None) -> Self:
        """Those of two texts."""
        return cls(
            None if input is None else orjson.Fragment(input),
            None if output is None else orjson.Fragment(output),
        )


def value(json: orjson.Fragment | None) -> Any:
    """What JSON says."""
    return orjson.loads(orjson.dumps(json))


class ExecutionRecord(NamedTuple):
    """An execution; its `payloads` are None where they were not read with it."""

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
    payloads: Payloads | None = None

    @classmethod
    def of(cls, values: Iterable[Any]) -> Self:
        """The execution of a row."""
        return cls(*values)

    @classmethod
    def with_payloads(cls, values: Iterable[Any]) -> Self:
        """The execution of a row that ends with the texts of its input and output."""
        *columns, input, output = values
        columns.append(Payloads.of(input, output))
        return cls._make(columns)


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
