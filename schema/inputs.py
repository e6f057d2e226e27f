"""The inputs of mutations."""

from datetime import datetime
from uuid import UUID

import strawberry

from app.filters import ExecutionFilter, Period
from app.tables import ExecutionStatus
from resolvers.context import parse_id
from schema.scalars import JSON


@strawberry.input(description="A workflow to register.")
class CreateWorkflowInput:
    name: str = strawberry.field(description="For people; 1 to 255 characters.")
    workflow_type: str = strawberry.field(
        description="Temporal workflow type name, as the workers register it."
    )
    task_queue: str = strawberry.field(description="The Temporal task queue that its workers poll.")
    description: str | None = strawberry.field(
        default=None, description="For people; 10,000 characters at most."
    )
    input_schema: JSON | None = strawberry.field(
        default=None, description="JSON Schema (2020-12) for the input; null accepts any JSON."
    )
    execution_timeout: int | None = strawberry.field(
        default=None, description="Whole-execution timeout handed to Temporal, in seconds; null means none."
    )


@strawberry.input(description="An execution to start.")
class StartExecutionInput:
    workflow_id: strawberry.ID = strawberry.field(
        description="The workflow to start; it must not be archived."
    )
    input: JSON | None = strawberry.field(
        default=None, description="The workflow's one argument; null starts it with none."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description=(
            "The same key with the same request returns the first execution; with another request it is "
            "refused. 1 to 255 characters, of the caller's own."
        ),
    )


@strawberry.input(description="An execution to cancel.")
class CancelExecutionInput:
    id: strawberry.ID = strawberry.field(description="The execution.")
    reason: str | None = strawberry.field(
        default=None, description="Why, for people; cut after 1,000 characters."
    )
    expected_version: int | None = strawberry.field(
        default=None, description="Refuse unless the execution is at this version; null does not check."
    )


@strawberry.input(description="A time span; a side that is left out is open.")
class DateTimeRange:
    from_: datetime | None = strawberry.field(default=None, name="from", description="From this instant on.")
    to: datetime | None = strawberry.field(default=None, description="Before this instant.")

    def period(self) -> Period:
        return Period(self.from_, self.to)


@strawberry.input(name="ExecutionFilter", description="Which executions: every part that is given must hold.")
class ExecutionFilterInput:
    workflow_id: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Of any of these workflows."
    )
    status: list[ExecutionStatus] | None = strawberry.field(
        default=None, description="Of any of these statuses."
    )
    created_at: DateTimeRange | None = strawberry.field(
        default=None, description="Accepted in this time span."
    )
    completed_at: DateTimeRange | None = strawberry.field(
        default=None, description="Ended in this time span."
    )

    def filter(self) -> ExecutionFilter:
        return ExecutionFilter(
            workflow_ids=_ids(self.workflow_id),
            statuses=None if self.status is None else frozenset(self.status),
            created=_period(self.created_at),
            completed=_period(self.completed_at),
        )


@strawberry.input(
    name="ExecutionStatsFilter", description="What is counted: every part that is given must hold."
)
class ExecutionStatsFilterInput:
    workflow_id: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Of any of these workflows."
    )
    created_at: DateTimeRange | None = strawberry.field(
        default=None, description="Accepted in this time span."
    )

    def filter(self) -> ExecutionFilter:
        return ExecutionFilter(workflow_ids=_ids(self.workflow_id), created=_period(self.created_at))


def _ids(ids: list[strawberry.ID] | None) -> frozenset[UUID] | None:
    return None if ids is None else frozenset(parse_id("workflow", id) for id in ids)


def _period(span: DateTimeRange | None) -> Period:
    return Period() if span is None else span.period()
