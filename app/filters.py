"""What a caller narrows executions to."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.records import ExecutionRecord
from app.tables import ExecutionStatus


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
    """Every part that is given must hold; None is not given."""

    workflow_ids: frozenset[UUID] | None = None
    statuses: frozenset[ExecutionStatus] | None = None
    created: Period = Period()
    completed: Period = Period()

    def matches(self, execution: ExecutionRecord) -> bool:
        """Whether the execution is one of those."""
        return (
            (self.workflow_ids is None or execution.workflow_id in self.workflow_ids)
            and (self.statuses is None or execution.status in self.statuses)
            and self.created.has(execution.created_at)
            and self.completed.has(execution.completed_at)
        )


@dataclass(frozen=True)
class StatsFilter:
    """What is counted: every part that is given must hold; None is not given."""

    workflow_ids: frozenset[UUID] | None = None
    created: Period = Period()
