"""What a caller narrows executions and their events to."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from app.records import EventRecord, ExecutionRecord
from app.tables import EventType, ExecutionStatus


@dataclass(frozen=True)
class Period:
    """Instants from `start` on and before `end`; None leaves a side open."""

    start: datetime | None = None
    end: datetime | None = None

    def has(self, moment: datetime | None) -> bool:
        """Whether the instant lies within; None lies only within a period open on both sides."""
        if moment is None:
            return self.start is None and self.end is None
        return (self.start is None or self.start <= moment) and (self.end is None or moment < self.end)


@dataclass(frozen=True)
class ExecutionFilter:
    """Every part that is given must hold; None is not given, and a set without values holds for nothing.

    Of labels each must be there; a search is a part of the workflow's name, of the workflow id on Temporal,
    or of a label's key or value, whatever the case of its letters.
    """

    workflow_ids: frozenset[UUID] | None = None
    statuses: frozenset[ExecutionStatus] | None = None
    created: Period = Period()
    completed: Period = Period()
    labels: frozenset[tuple[str, str]] = frozenset()
    search: str | None = None

    def matches(self, execution: ExecutionRecord, workflow_name: str) -> bool:
        """Whether the execution is one of those."""
        return (
            (self.workflow_ids is None or execution.workflow_id in self.workflow_ids)
            and (self.statuses is None or execution.status in self.statuses)
            and self.created.has(execution.created_at)
            and self.completed.has(execution.completed_at)
            and self.labels <= execution.labels.items()
            and self._finds(execution, workflow_name)
        )

    @property
    def is_tallied(self) -> bool:
        """Whether it asks for no more than workflows and statuses, which are counted as they change."""
        return replace(self, workflow_ids=None, statuses=None) == ExecutionFilter()

    def _finds(self, execution: ExecutionRecord, workflow_name: str) -> bool:
        if self.search is None:
            return True
        texts = (workflow_name, execution.temporal_workflow_id, *execution.labels, *execution.labels.values())
        return any(self.search.lower() in text.lower() for text in texts)


@dataclass(frozen=True)
class ExecutionEventFilter:
    """Which events: by themselves, and by the execution that they belong to."""

    workflow_ids: frozenset[UUID] | None = None
    statuses: frozenset[ExecutionStatus] | None = None
    types: frozenset[EventType] | None = None
    labels: frozenset[tuple[str, str]] = frozenset()

    def matches(self, event: EventRecord, execution: ExecutionRecord) -> bool:
        """Whether the event is one of those."""
        return (
            (self.workflow_ids is None or execution.workflow_id in self.workflow_ids)
            and (self.statuses is None or event.status in self.statuses)
            and (self.types is None or event.type in self.types)
            and self.labels <= execution.labels.items()
        )


@dataclass(frozen=True)
class StatsFilter:
    """What is counted: every part that is given must hold; None is not given."""

    workflow_ids: frozenset[UUID] | None = None
    created: Period = Period()


EVERY_EXECUTION = ExecutionFilter()
EVERY_EVENT = ExecutionEventFilter()


def digest(narrowing: object) -> str:
    """A short text that is the same for equal filters, in every process."""
    text = orjson.dumps(narrowing, default=_plain, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, frozenset) else str(value)
