"""What the store returns and the resolvers pass on: plain values, read-only."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Self
from uuid import UUID

import orjson

from app.tables import EventType, ExecutionStatus, FailureReason

REMEMBERED = 8_192


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


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event with its execution as it was then or later: what a subscriber receives."""

    event: EventRecord
    execution: ExecutionRecord


@dataclass(frozen=True, slots=True)
class Fields:
    """How many fields a record has in its JSON, and how some of them are read there."""

    count: int
    read: tuple[tuple[int, Callable[[Any], Any]], ...]

    @classmethod
    def of(cls, kind: type[EventRecord | ExecutionRecord], **read: Callable[[Any], Any]) -> Self:
        """Those of a kind of record."""
        names = [name for name in kind._fields if name != "payloads"]
        return cls(len(names), tuple((names.index(name), each) for name, each in read.items()))


def encode(delivery: Delivery) -> str:
    """The JSON text of a delivery; `decode` turns it back."""
    # asyncpg has a UUID class of its own.
    parts = (tuple(delivery.event), tuple(delivery.execution[:-1]))
    return orjson.dumps(parts, default=str).decode()


def decode(text: str) -> Delivery:
    """The delivery in a text that `encode` made; raises ValueError for any other, an older version's too."""
    try:
        event, execution = orjson.loads(text)
        return Delivery(EventRecord(*_read(_EVENT, event)), ExecutionRecord(*_read(_EXECUTION, execution)))
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise ValueError("not a delivery") from error


def _read(fields: Fields, values: list[Any]) -> list[Any]:
    """The values of a record's fields, as they are in its JSON."""
    if len(values) != fields.count:
        raise ValueError
    for place, read in fields.read:
        values[place] = read(values[place])
    return values


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _optional_id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


# An execution has many events, and most of what it is stays the same.
_id = lru_cache(REMEMBERED)(UUID)
_known_moment = lru_cache(REMEMBERED)(_moment)

_EVENT = Fields.of(
    EventRecord,
    execution_id=_id,
    type=EventType,
    status=ExecutionStatus,
    timestamp=_moment,
    recorded_at=_moment,
)
_EXECUTION = Fields.of(
    ExecutionRecord,
    id=_id,
    workflow_id=_id,
    status=ExecutionStatus,
    rerun_of=_optional_id,
    created_at=_known_moment,
    started_at=_known_moment,
    completed_at=_known_moment,
    updated_at=_known_moment,
)
