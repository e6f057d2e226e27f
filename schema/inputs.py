"""The inputs of mutations, and what lists are asked for with."""

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry

from app.filters import EVERY_EXECUTION, ExecutionEventFilter, ExecutionFilter, Period, StatsFilter
from app.inputs import Label
from app.listings import (
    ExecutionListing,
    ExecutionOrderField,
    OrderDirection,
    WorkflowListing,
    WorkflowOrderField,
)
from app.tables import EventType, ExecutionStatus
from resolvers.context import parse_id
from schema.scalars import JSON

INPUT_SCHEMA = (
    "JSON Schema (2020-12) for the input; null accepts any JSON. 65,536 bytes at most; `$ref` only within "
    "it, patterns without lookaround and back-references, `format` for information alone."
)
EXPECTED_VERSION: int | None = strawberry.field(
    default=None,
    description=(
        "Refuse unless the execution is at this version; null does not check. Exact for labels, for a "
        "message and to cancel what is PENDING; elsewhere it is compared just before Temporal is asked, and "
        "another change may come in between."
    ),
)


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
    input_schema: JSON | None = strawberry.field(default=None, description=INPUT_SCHEMA)
    execution_timeout: int | None = strawberry.field(
        default=None, description="Whole-execution timeout handed to Temporal, in seconds; null means none."
    )


@strawberry.input(
    description="Changes of a workflow: what is left out stays as it is, null takes away what may be null."
)
class UpdateWorkflowInput:
    id: strawberry.ID = strawberry.field(description="The workflow.")
    name: str | None = strawberry.field(
        default=strawberry.UNSET, description="For people; 1 to 255 characters, never null."
    )
    description: str | None = strawberry.field(
        default=strawberry.UNSET, description="For people; 10,000 characters at most."
    )
    workflow_type: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="Temporal workflow type name, as the workers register it; never null.",
    )
    task_queue: str | None = strawberry.field(
        default=strawberry.UNSET, description="The Temporal task queue that its workers poll; never null."
    )
    input_schema: JSON | None = strawberry.field(default=strawberry.UNSET, description=INPUT_SCHEMA)
    execution_timeout: int | None = strawberry.field(
        default=strawberry.UNSET,
        description="Whole-execution timeout handed to Temporal, in seconds; null means none.",
    )

    def changes(self) -> dict[str, Any]:
        return given(
            name=self.name,
            description=self.description,
            workflow_type=self.workflow_type,
            task_queue=self.task_queue,
            input_schema=self.input_schema,
            execution_timeout=self.execution_timeout,
        )


@strawberry.input(description="An execution to start.")
class StartExecutionInput:
    workflow_id: strawberry.ID = strawberry.field(
        description="The workflow to start; it must not be archived."
    )
    input: JSON | None = strawberry.field(
        default=None,
        description=(
            "The workflow's one argument; null starts it with none. It must satisfy the workflow's "
            "`inputSchema`, null too."
        ),
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description=(
            "The same key with the same request returns the first execution; with another request it is "
            "refused. 1 to 255 characters, of the caller's own."
        ),
    )
    labels: list["LabelInput"] | None = strawberry.field(
        default=None, description="To find it by; 32 at most, each key once."
    )
    start_delay: int | None = strawberry.field(
        default=None,
        description=(
            "Seconds from now to its first task, a year (31,536,000) at most; null means none. It is RUNNING "
            "meanwhile, and Temporal pauses no workflow before its first task."
        ),
    )

    def pairs(self) -> list[Label] | None:
        return label_pairs(self.labels)


@strawberry.input(
    description="An execution to start anew, from its workflow as it is now, with the same labels."
)
class RerunExecutionInput:
    id: strawberry.ID = strawberry.field(description="The execution, of whatever status.")
    input: JSON | None = strawberry.field(
        default=strawberry.UNSET,
        description="Another input; left out, that of the execution is used. Null starts it with none.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description=(
            "The same key with the same request returns the first rerun; with another request it is refused. "
            "1 to 255 characters, of the caller's own, and not one of a start."
        ),
    )

    def given(self) -> dict[str, Any]:
        return given(input=self.input)


@strawberry.input(description="An execution to cancel.")
class CancelExecutionInput:
    id: strawberry.ID = strawberry.field(description="The execution.")
    reason: str | None = strawberry.field(
        default=None, description="Why, for people; cut after 1,000 characters."
    )
    expected_version: int | None = EXPECTED_VERSION


@strawberry.input(description="An execution to end at once.")
class TerminateExecutionInput:
    id: strawberry.ID = strawberry.field(description="The execution.")
    reason: str | None = strawberry.field(
        default=None, description="Why, for people; cut after 1,000 characters."
    )
    expected_version: int | None = EXPECTED_VERSION


@strawberry.input(description="A signal to send to an execution.")
class SignalExecutionInput:
    id: strawberry.ID = strawberry.field(description="The execution.")
    signal: str = strawberry.field(
        description="The signal's name, as the workflow defines it; 1 to 255 characters."
    )
    arguments: list[JSON] | None = strawberry.field(
        default=None, description="The signal's arguments, in order; null sends none."
    )


@strawberry.input(description="A label: at most one of each key.")
class LabelInput:
    key: str = strawberry.field(description="1 to 63 letters (A-Z, a-z), digits or any of `. _ - /`.")
    value: str = strawberry.field(description="255 characters at most.")


@strawberry.input(
    description=(
        "A change of an execution. `status`: PAUSED holds it back on Temporal and RUNNING lets it go on; "
        "CANCELLED cancels it; COMPLETED and FAILED end it at once, by hand, with the given output or "
        "message. Without a status, `labels` and `message` are put on it."
    )
)
class UpdateExecutionInput:
    id: strawberry.ID = strawberry.field(description="The execution.")
    status: ExecutionStatus | None = strawberry.field(
        default=None, description="The status it is to have; PENDING is refused, null leaves it."
    )
    output: JSON | None = strawberry.field(
        default=None, description="Its result, only with the status COMPLETED; 2 MB at most."
    )
    message: str | None = strawberry.field(
        default=None,
        description="Why, for people: part of the event's message. 1 to 1,000 characters.",
    )
    labels: list[LabelInput] | None = strawberry.field(
        default=None,
        description=(
            "Replace all its labels: 32 at most; an empty list takes them away, null leaves them. "
            "Not together with a status."
        ),
    )
    expected_version: int | None = EXPECTED_VERSION

    def pairs(self) -> list[Label] | None:
        return label_pairs(self.labels)


@strawberry.input(description="A time span; a side that is left out is open.")
class DateTimeRange:
    from_: datetime | None = strawberry.field(default=None, name="from", description="From this instant on.")
    to: datetime | None = strawberry.field(default=None, description="Before this instant.")

    def period(self) -> Period:
        return Period(self.from_, self.to)


@strawberry.input(
    name="ExecutionFilter",
    description="Which executions: every part that is given must hold; null is not given.",
)
class ExecutionFilterInput:
    workflow_id: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Of any of these workflows, 100 at most; an empty list matches nothing."
    )
    status: list[ExecutionStatus] | None = strawberry.field(
        default=None, description="Of any of these statuses; an empty list matches nothing."
    )
    created_at: DateTimeRange | None = strawberry.field(
        default=None, description="Created in this time span."
    )
    completed_at: DateTimeRange | None = strawberry.field(
        default=None,
        description="Ended in this time span; what has not ended matches a span only if both sides are open.",
    )
    labels: list[LabelInput] | None = strawberry.field(
        default=None,
        description=(
            "With each of these labels, 100 at most; an empty list matches all, one key twice nothing."
        ),
    )
    search: str | None = strawberry.field(
        default=None,
        description=(
            "With this text in the workflow's name, in `temporalWorkflowId`, or in a label's key or value, "
            "upper case or lower: 1 to 255 characters, blanks around it left out. Fewer than three take "
            "longer, and an admin's list does not take them."
        ),
    )

    def filter(self) -> ExecutionFilter:
        return ExecutionFilter(
            workflow_ids=_ids(self.workflow_id),
            statuses=None if self.status is None else frozenset(self.status),
            created=_period(self.created_at),
            completed=_period(self.completed_at),
            labels=frozenset(label_pairs(self.labels) or ()),
            search=trimmed(self.search),
        )


@strawberry.input(
    name="ExecutionEventFilter",
    description="Which events: every part that is given must hold; null is not given.",
)
class ExecutionEventFilterInput:
    workflow_id: list[strawberry.ID] | None = strawberry.field(
        default=None,
        description="Of executions of any of these workflows, 100 at most; an empty list matches nothing.",
    )
    status: list[ExecutionStatus] | None = strawberry.field(
        default=None,
        description="With any of these statuses after the event; an empty list matches nothing.",
    )
    types: list[EventType] | None = strawberry.field(
        default=None, description="Of any of these types; an empty list matches nothing."
    )
    labels: list[LabelInput] | None = strawberry.field(
        default=None,
        description="Of executions with each of these labels, 100 at most; an empty list matches all.",
    )

    def filter(self) -> ExecutionEventFilter:
        return ExecutionEventFilter(
            workflow_ids=_ids(self.workflow_id),
            statuses=None if self.status is None else frozenset(self.status),
            types=None if self.types is None else frozenset(self.types),
            labels=frozenset(label_pairs(self.labels) or ()),
        )


@strawberry.input(
    name="ExecutionOrder",
    description="The order of executions; those with the same time are in the order of their ids.",
)
class ExecutionOrderInput:
    field: ExecutionOrderField = strawberry.field(
        default=ExecutionOrderField.CREATED_AT, description="By which time."
    )
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which end comes first: the newest by default."
    )


@strawberry.input(
    name="WorkflowOrder",
    description="The order of workflows; those that are equal in it are in the order of their ids.",
)
class WorkflowOrderInput:
    field: WorkflowOrderField = strawberry.field(
        default=WorkflowOrderField.CREATED_AT, description="By what."
    )
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which end comes first: the newest, or Z, by default."
    )


@strawberry.input(
    name="ExecutionStatsFilter",
    description="What is counted: every part that is given must hold; null is not given.",
)
class ExecutionStatsFilterInput:
    workflow_id: list[strawberry.ID] | None = strawberry.field(
        default=None,
        description=(
            "Of any of these workflows, 100 at most; an empty list matches nothing, and so does another "
            "user's workflow."
        ),
    )
    created_at: DateTimeRange | None = strawberry.field(
        default=None, description="Created in this time span, which is widened to whole hours in UTC."
    )

    def filter(self) -> StatsFilter:
        return StatsFilter(_ids(self.workflow_id), _period(self.created_at))


def given(**values: Any) -> dict[str, Any]:
    """Those of the values that the caller has sent, null or not."""
    return {name: value for name, value in values.items() if value is not strawberry.UNSET}


def label_pairs(labels: list[LabelInput] | None) -> list[Label] | None:
    """The labels as the resolvers take them."""
    return None if labels is None else [(label.key, label.value) for label in labels]


def execution_listing(
    filter: ExecutionFilterInput | None, order_by: ExecutionOrderInput | None
) -> ExecutionListing:
    """The list of executions that these arguments ask for."""
    order = order_by or ExecutionOrderInput()
    return ExecutionListing(
        EVERY_EXECUTION if filter is None else filter.filter(), order.field, order.direction
    )


def workflow_listing(
    search: str | None, include_archived: bool | None, order_by: WorkflowOrderInput | None
) -> WorkflowListing:
    """The list of workflows that these arguments ask for."""
    order = order_by or WorkflowOrderInput()
    return WorkflowListing(trimmed(search), bool(include_archived), order.field, order.direction)


def trimmed(text: str | None) -> str | None:
    """The text without blanks around it."""
    return None if text is None else text.strip()


def _ids(ids: list[strawberry.ID] | None) -> frozenset[UUID] | None:
    return None if ids is None else frozenset(parse_id("workflow", id) for id in ids)


def _period(span: DateTimeRange | None) -> Period:
    return Period() if span is None else span.period()
