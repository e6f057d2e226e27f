"""The object types. Each field's body is one call to a resolver."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Self, TypeVar, cast
from uuid import UUID

import strawberry

from app.auth import Caller
from app.deliveries import EVENT_PLACES, Delivery
from app.filters import ExecutionEventFilter, Period, StatsFilter
from app.listings import ExecutionListing, WorkflowListing
from app.paging import Page, Paging, feed_cursor
from app.records import EventRecord, ExecutionRecord, PendingActivityRecord, WorkflowRecord
from app.rendering import Rendered
from app.stats import Span, Stats, TimeBucket
from app.tables import EventType, ExecutionAction, ExecutionStatus, FailureReason
from resolvers import control, events, executions, live, stats, workflows
from schema.arguments import (
    After,
    Before,
    CreatedAt,
    EventTypes,
    Filter,
    First,
    Last,
    OrderBy,
    PageNumber,
)
from schema.info import Info, selects
from schema.inputs import execution_listing
from schema.later import Later
from schema.plans import TOGETHER
from schema.recorded import ANNOUNCED, COLUMN, PART, READ, recorded, rendered
from schema.scalars import JSON

T = TypeVar("T")

# What of a connection takes its rows.
ROWS = ("nodes", "edges", "pageInfo")
ID_DESCRIPTION = "Unique among all nodes, opaque, stable."


@strawberry.interface(description="An object with an id of its own; `node(id)` finds it.")
class Node:
    id: strawberry.ID = strawberry.field(description=ID_DESCRIPTION)


def record_id(self: "Workflow | Execution") -> strawberry.ID:
    return strawberry.ID(str(self.record.id))


def event_id(self: "ExecutionEvent") -> strawberry.ID:
    return strawberry.ID(f"{self.record.execution_id}:{self.record.version}")


def announced_event_id(values: Sequence[Any]) -> str:
    return f"{values[EVENT_PLACES['execution_id']]}:{values[EVENT_PLACES['version']]}"


def announced_cursor(values: Sequence[Any]) -> str:
    return feed_cursor(values[EVENT_PLACES["position"]])


def announced_execution(values: Sequence[Any]) -> Sequence[Any]:
    """The same values: they have its own among them."""
    return values


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more follow this page.")
    has_previous_page: bool = strawberry.field(description="Whether there are some before this page.")
    start_cursor: str | None = strawberry.field(
        description="Cursor of the first item: `before` for the page in front; null on an empty page."
    )
    end_cursor: str | None = strawberry.field(
        description=(
            "Cursor of the last item: `after` for the next page; null on an empty page, but for a feed's, "
            "which always says up to where it was read."
        )
    )

    @classmethod
    def of(cls, page: Page[T], cursor: Callable[[T], str]) -> Self:
        return cls(
            has_next_page=page.has_next,
            has_previous_page=page.has_previous,
            start_cursor=cursor(page.items[0]) if page.items else None,
            end_cursor=cursor(page.items[-1]) if page.items else None,
        )


@strawberry.type(description="The caller, as their token says.")
class Viewer:
    id: strawberry.ID = strawberry.field(description="The owner whose workflows and executions are shown.")
    scopes: list[str] = strawberry.field(description="What the token allows, sorted.")
    token_expires_at: datetime | None = strawberry.field(
        description="When the token expires, and the sockets opened with it close. Never null so far."
    )

    @classmethod
    def of(cls, caller: Caller) -> Self:
        return cls(
            id=strawberry.ID(caller.owner), scopes=sorted(caller.scopes), token_expires_at=caller.expires_at
        )


@strawberry.type(
    description="What a user may start: a Temporal workflow type on a task queue, owned by one user."
)
class Workflow(Node):
    record: strawberry.Private[WorkflowRecord]
    id: strawberry.ID = strawberry.field(
        resolver=record_id, description=ID_DESCRIPTION, metadata={COLUMN: "id"}
    )
    name: str = recorded("For people; 255 characters at most.")
    description: str | None = recorded("For people; null where none was given.")
    workflow_type: str = recorded("Temporal workflow type name, as the workers register it.")
    task_queue: str = recorded("The Temporal task queue that its workers poll.")
    execution_timeout: int | None = recorded(
        "Whole-execution timeout handed to Temporal, in seconds; null means none."
    )
    created_at: datetime = recorded("When it was registered.")
    updated_at: datetime = recorded("When it was last changed.")
    archived_at: datetime | None = recorded(
        "An archived workflow cannot be started; its executions stay readable. Else null."
    )

    @strawberry.field(
        description="JSON Schema (2020-12) that an execution's input must satisfy; null accepts any JSON."
    )
    async def input_schema(self, info: Info) -> JSON | None:
        return cast("JSON | None", await workflows.input_schema(info.context, self.record))

    @strawberry.field(description="Counts of its executions. Needs the scope `executions:read`.")
    async def stats(
        self,
        info: Info,
        created_at: CreatedAt = None,
    ) -> "ExecutionStats":
        created = Period() if created_at is None else created_at.period()
        found = await stats.workflow_stats(info.context, self.record, created)
        return ExecutionStats.of(found, StatsFilter(created=created), self.record)

    @strawberry.field(
        description="Its executions, newest first by default. Needs the scope `executions:read`."
    )
    async def executions(
        self,
        info: Info,
        *,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        page: PageNumber = None,
        filter: Filter = None,
        order_by: OrderBy = None,
    ) -> "ExecutionConnection":
        asked = Paging(first, after, last, before, page)
        listing = execution_listing(filter, order_by)
        # Read before the page: what happens in between is then told twice, not never.
        position = await events.feed_head(info.context) if selects(info, "feedCursor") else 0
        found = await executions.workflow_executions(
            info.context, self.record, listing, asked, rows=selects(info, *ROWS)
        )
        return ExecutionConnection(
            page=found,
            listing=listing,
            size=asked.size,
            workflow_id=self.record.id,
            feed_cursor=feed_cursor(position),
        )

    @classmethod
    def of(cls, record: WorkflowRecord | Rendered) -> Self:
        return cast("Self", record) if isinstance(record, Rendered) else cls(record=record)


@strawberry.type(description="A workflow in a list.")
class WorkflowEdge:
    cursor: str = strawberry.field(description="Its place in the list: pass it as `after` or `before`.")
    node: Workflow = strawberry.field(description="The workflow.")


@strawberry.type(description="A page of workflows.")
class WorkflowConnection:
    page: strawberry.Private[Page[WorkflowRecord]]
    listing: strawberry.Private[WorkflowListing]

    @strawberry.field(description="The page's workflows, each with its cursor.")
    def edges(self) -> list[WorkflowEdge]:
        cursor = self.listing.cursor
        return [WorkflowEdge(cursor=cursor(each), node=Workflow.of(each)) for each in self.page.items]

    @strawberry.field(description="The page's workflows.")
    def nodes(self) -> list[Workflow]:
        return [Workflow.of(record) for record in self.page.items]

    @strawberry.field(description="Where the page stands.")
    def page_info(self) -> PageInfo:
        return PageInfo.of(self.page, self.listing.cursor)

    @strawberry.field(description="How many the list has in all; counted only when selected.")
    async def total_count(self, info: Info) -> int:
        return await workflows.workflow_count(info.context, self.listing)


@strawberry.type(description="Why an execution failed.")
class ExecutionFailure:
    reason: FailureReason = rendered("The kind of failure.")
    message: str = rendered("What went wrong: the message of the error that was raised.")
    type: str | None = rendered("The error's type name; null where it has none.")
    activity_type: str | None = rendered("The activity that failed; null where it was the workflow itself.")
    stack_trace: str | None = rendered("Where in the worker's code; null where unknown.")

    @classmethod
    def of(cls, failure: dict[str, Any]) -> Self:
        return cls(**{**failure, "reason": FailureReason(failure["reason"])})


@strawberry.type(description="What a user has put on an execution, to find it by.")
class Label:
    key: str = rendered("What it says; unique among an execution's labels.")
    value: str = rendered("What it says of this execution.")


@strawberry.type(description="An activity of an execution that has not ended, as Temporal has it now.")
class PendingActivity:
    activity_id: str = strawberry.field(description="Unique within the run.")
    activity_type: str = strawberry.field(description="Its Temporal activity type name.")
    state: str = strawberry.field(
        description=(
            "SCHEDULED waits for a worker, STARTED is at work, BACKING_OFF waits for its next attempt; "
            "CANCEL_REQUESTED, PAUSED and PAUSE_REQUESTED as Temporal says."
        )
    )
    attempt: int = strawberry.field(description="The present attempt, or the next one; the first is 1.")
    last_failure: str | None = strawberry.field(
        description="Why the attempt before failed; null where none has."
    )
    last_heartbeat: JSON | None = strawberry.field(
        description="What its last heartbeat told; null where there was none, or it told nothing."
    )
    scheduled_at: datetime | None = strawberry.field(
        description="When its present attempt was handed to the workers; null where unknown."
    )
    next_attempt_at: datetime | None = strawberry.field(
        description="When it is tried next; null unless it is BACKING_OFF."
    )

    @classmethod
    def of(cls, record: PendingActivityRecord) -> Self:
        return cls(
            activity_id=record.activity_id,
            activity_type=record.activity_type,
            state=record.state,
            attempt=record.attempt,
            last_failure=record.last_failure,
            last_heartbeat=cast("JSON | None", record.last_heartbeat),
            scheduled_at=record.scheduled_at,
            next_attempt_at=record.next_attempt_at,
        )


async def _workflows(info: Info, of: Sequence["Execution"]) -> list[Workflow]:
    records = [each.record for each in of]
    found = await executions.execution_workflows(info.context, records, info.fieldset)
    return [Workflow.of(record) for record in found]


async def _histories(
    info: Info,
    of: Sequence["Execution"],
    *,
    types: Sequence[EventType] | None = None,
    **asked: Any,
) -> list["ExecutionEventConnection"]:
    chosen = None if types is None else frozenset(types)
    records = [each.record for each in of]
    pages = await events.histories(info.context, records, Paging(**asked), chosen, info.fieldset)
    return [
        ExecutionEventConnection(page=page, source=History(record, chosen))
        for page, record in zip(pages, records, strict=True)
    ]


@strawberry.type(description="One run of a workflow, from its start to its end, as it is now.")
class Execution(Node):
    record: strawberry.Private[ExecutionRecord]
    id: strawberry.ID = strawberry.field(
        resolver=record_id, description=ID_DESCRIPTION, metadata={COLUMN: "id"}
    )
    status: ExecutionStatus = recorded("Where it stands.")
    version: int = recorded("Grows by one with every event; an older state never overwrites a newer one.")
    started_by: str = recorded("The `sub` of the token that started it.")
    temporal_workflow_id: str = recorded("Its workflow id on Temporal.")
    temporal_run_id: str | None = recorded(
        "The current run on Temporal; null until Temporal has accepted the start. "
        "Changes on continue-as-new, retry and reset."
    )
    created_at: datetime = recorded("When it was created here, before Temporal was asked.")
    started_at: datetime | None = recorded("When Temporal started it; null before.")
    completed_at: datetime | None = recorded("When it ended, in whatever way; null before.")
    updated_at: datetime = recorded("When its last event was recorded.")

    @strawberry.field(description="Why it failed; null unless it is FAILED.", metadata={PART: "failure"})
    def failure(self) -> ExecutionFailure | None:
        return None if self.record.failure is None else ExecutionFailure.of(self.record.failure)

    @strawberry.field(
        description="Its labels, sorted by key; empty where it has none.", metadata={PART: "labels"}
    )
    def labels(self) -> list[Label]:
        return [Label(key=key, value=value) for key, value in sorted(self.record.labels.items())]

    @strawberry.field(
        description="What it was started from; it needs no scope of its own.",
        metadata={TOGETHER: _workflows, PART: "workflow"},
    )
    async def workflow(self, info: Info) -> Workflow:
        return Workflow.of(await executions.execution_workflow(info.context, self.record))

    @strawberry.field(
        description="What it was started with; null for no argument. Read only when selected.",
        metadata={READ: "payloads.input"},
    )
    async def input(self, info: Info) -> JSON | None:
        return cast("JSON | None", await executions.execution_input(info.context, self.record))

    @strawberry.field(
        description="The workflow's result; null before it has completed. Read only when selected.",
        metadata={READ: "payloads.output"},
    )
    async def output(self, info: Info) -> JSON | None:
        return cast("JSON | None", await executions.execution_output(info.context, self.record))

    @strawberry.field(
        description=(
            "Seconds from startedAt to completedAt, or to now while it runs or is paused; null before it "
            "started."
        ),
        metadata={COLUMN: "duration"},
    )
    def duration(self) -> float | None:
        started, completed = self.record.started_at, self.record.completed_at
        if started is None:
            return None
        # Temporal's clock says when it ended, this server's when it was told of the start.
        return max(0.0, ((completed or datetime.now(UTC)) - started).total_seconds())

    @strawberry.field(
        description=(
            "Its activities that are scheduled, at work or backing off, asked of Temporal now; empty once it "
            "has ended and before it has started. Fails with UNAVAILABLE while Temporal does not answer."
        )
    )
    async def pending_activities(self, info: Info) -> list[PendingActivity]:
        records = await live.pending_activities(info.context, self.record)
        return [PendingActivity.of(record) for record in records]

    @strawberry.field(description="The execution that this one was rerun from; null for a first start.")
    async def rerun_of(self, info: Info) -> "Execution | None":
        found = await executions.execution_rerun_of(info.context, self.record)
        return None if found is None else Execution.of(found)

    @strawberry.field(
        description=(
            "What the caller may ask of it in its present status; empty once it has ended, and without the "
            "scope `executions:write`."
        )
    )
    def allowed_actions(self, info: Info) -> list[ExecutionAction]:
        return list(control.allowed_actions(info.context, self.record))

    @strawberry.field(
        description=(
            "Its events, oldest first: the same that the subscriptions deliver, with the same cursors."
        ),
        metadata={TOGETHER: _histories, PART: "history"},
    )
    async def history(
        self,
        info: Info,
        *,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        types: EventTypes = None,
    ) -> "ExecutionEventConnection":
        chosen = None if types is None else frozenset(types)
        asked = Paging(first, after, last, before)
        page = await events.history(info.context, self.record, asked, chosen)
        return ExecutionEventConnection(page=page, source=History(self.record, chosen))

    @classmethod
    def of(cls, record: ExecutionRecord | Rendered) -> Self:
        return cast("Self", record) if isinstance(record, Rendered) else cls(record=record)

    @classmethod
    def delivered(cls, delivery: Delivery) -> Self:
        return cls(record=delivery.execution)


@strawberry.type(description="An execution in a list.")
class ExecutionEdge:
    cursor: str = strawberry.field(description="Its place in the list: pass it as `after` or `before`.")
    node: Execution = strawberry.field(description="The execution.")


@strawberry.type(description="A page of executions.")
class ExecutionConnection:
    page: strawberry.Private[Page[ExecutionRecord | Rendered]]
    listing: strawberry.Private[ExecutionListing]
    size: strawberry.Private[int]
    workflow_id: strawberry.Private[UUID | None] = None
    feed_cursor: str = strawberry.field(
        description=(
            "The feed's position read before the page was: subscribe with `after: feedCursor` "
            "and nothing falls between."
        )
    )

    @strawberry.field(description="The page's executions, each with its cursor.")
    def edges(self) -> list[ExecutionEdge]:
        cursor = self._cursors.cursor
        return [ExecutionEdge(cursor=cursor(each), node=Execution.of(each)) for each in self.page.items]

    @strawberry.field(description="The page's executions.")
    def nodes(self) -> list[Execution]:
        return [Execution.of(record) for record in self.page.items]

    @strawberry.field(description="Where the page stands.")
    def page_info(self) -> PageInfo:
        return PageInfo.of(self.page, self._cursors.cursor)

    @strawberry.field(description="How many the list has in all; counted only when selected.")
    async def total_count(self, info: Info) -> int:
        return await executions.execution_count(info.context, self.listing.chosen, self.workflow_id)

    @strawberry.field(
        description="How many pages of this size the list has: `totalCount` over the size, rounded up."
    )
    async def page_count(self, info: Info) -> int:
        total = await executions.execution_count(info.context, self.listing.chosen, self.workflow_id)
        return -(-total // self.size)

    @property
    def _cursors(self) -> ExecutionListing:
        """The list that its cursors belong to."""
        return self.listing if self.workflow_id is None else self.listing.of_workflow(self.workflow_id)


@strawberry.type(description="One change of an execution, or one thing that happened inside its run.")
class ExecutionEvent(Node):
    record: strawberry.Private[EventRecord]
    snapshot: strawberry.Private[ExecutionRecord | None]
    id: strawberry.ID = strawberry.field(
        resolver=event_id,
        description=ID_DESCRIPTION,
        metadata={COLUMN: "id", ANNOUNCED: announced_event_id},
    )
    type: EventType = recorded("What happened.")
    status: ExecutionStatus = recorded("The execution's status after this event.")
    version: int = recorded("The execution's version after this event.")
    message: str = recorded("What happened, for people.")
    timestamp: datetime = recorded("When it happened: Temporal's clock inside the run.")
    actor: str | None = recorded(
        "Who caused it: a token's `sub`, or null for the workflow, its workers and Temporal."
    )

    @strawberry.field(
        description=(
            "Its place in the owner's feed: pass it as `after` to a subscription, `executionFeed` or "
            "`history`."
        ),
        metadata={ANNOUNCED: announced_cursor},
    )
    def cursor(self) -> str:
        return feed_cursor(self.record.position)

    @strawberry.field(
        description=(
            "Facts of the event, by type: activity type, attempt, failure, signal name and so on. Null "
            "where there are none."
        ),
        metadata={COLUMN: "details"},
    )
    def details(self) -> JSON | None:
        return cast("JSON | None", self.record.details)

    @strawberry.field(
        description="The execution as it is now (never older than this event).",
        metadata={ANNOUNCED: announced_execution},
    )
    def execution(self, info: Info) -> Execution:
        if self.snapshot is not None:
            return Execution.of(self.snapshot)
        return cast("Execution", Later(partial(_execution_of, info, self.record)))

    @classmethod
    def of(cls, event: Delivery | EventRecord | Rendered) -> Self:
        if isinstance(event, Rendered):
            return cast("Self", event)
        if isinstance(event, Delivery):
            return cls(record=event.event, snapshot=event.execution)
        return cls(record=event, snapshot=None)


async def _execution_of(info: Info, event: EventRecord) -> Execution:
    return Execution.of(await events.event_execution(info.context, event))


@strawberry.type(description="An event in a list.")
class ExecutionEventEdge:
    cursor: str = strawberry.field(
        description="Its place in the owner's feed: pass it as `after`; in a `history` as `before` too."
    )
    node: ExecutionEvent = strawberry.field(description="The event.")


@dataclass(frozen=True)
class History:
    """The list of one execution's events."""

    execution: ExecutionRecord
    types: frozenset[EventType] | None


@strawberry.type(description="A page of events.")
class ExecutionEventConnection:
    source: strawberry.Private[History | ExecutionEventFilter]
    page: strawberry.Private[Page[Delivery | EventRecord | Rendered]]
    position: strawberry.Private[int | None] = None

    @strawberry.field(description="The page's events, each with its cursor.")
    def edges(self) -> list[ExecutionEventEdge]:
        return [
            ExecutionEventEdge(cursor=_cursor(each), node=ExecutionEvent.of(each)) for each in self.page.items
        ]

    @strawberry.field(description="The page's events.", metadata={PART: "nodes"})
    def nodes(self) -> list[ExecutionEvent]:
        return [ExecutionEvent.of(each) for each in self.page.items]

    @strawberry.field(
        description=(
            "Where the page stands. A feed is read a bounded way for each page: with a filter, a page may "
            "have fewer events than asked for, or none, and `endCursor` still leads on to the next."
        )
    )
    def page_info(self) -> PageInfo:
        found = PageInfo.of(self.page, _cursor)
        if self.position is not None:
            found.end_cursor = feed_cursor(self.position)
        return found

    @strawberry.field(description="How many the list has in all; counted only when selected.")
    async def total_count(self, info: Info) -> int:
        match self.source:
            case History(execution, types):
                return await events.event_count(info.context, execution, types)
            case chosen:
                return await events.feed_count(info.context, chosen)


def _cursor(event: Delivery | EventRecord | Rendered) -> str:
    if isinstance(event, Rendered):
        return feed_cursor(event.place)
    return feed_cursor(event.position)


@strawberry.type(description="How many executions have a status.")
class StatusCount:
    status: ExecutionStatus = strawberry.field(description="The status.")
    count: int = strawberry.field(description="How many have it; 0 where none has.")


@strawberry.type(description="The executions that were created in one span of a timeline.")
class StatsBucket:
    start: datetime = strawberry.field(description="When the span begins, in UTC: a full hour, or midnight.")
    counts: list[StatusCount] = strawberry.field(
        description="How many of them have each status now; every status, in the order of `byStatus`."
    )

    @classmethod
    def of(cls, span: Span) -> Self:
        return cls(start=span.start, counts=_status_counts(span.counts))


@strawberry.type(
    description=(
        "Exact counts, kept as executions change, not counted on read. Windows are by creation time, widened "
        "to whole hours in UTC."
    )
)
class ExecutionStats:
    found: strawberry.Private[Stats]
    chosen: strawberry.Private[StatsFilter]
    workflow: strawberry.Private[WorkflowRecord | None]
    total: int = strawberry.field(description="How many there are, of whatever status.")
    by_status: list[StatusCount] = strawberry.field(
        description=(
            "How many have each status; every status: PENDING, RUNNING, PAUSED, COMPLETED, FAILED, "
            "CANCELLED, in this order."
        )
    )

    @strawberry.field(
        name="durationP50",
        description=(
            "The median of the seconds from startedAt to completedAt, over those that are COMPLETED: from a "
            "histogram, within 5 % (or a millisecond). Null where none is."
        ),
    )
    def duration_p50(self) -> float | None:
        return self.found.duration(50)

    @strawberry.field(
        name="durationP95",
        description="The seconds within which 95 % of the COMPLETED ones ended, like `durationP50`.",
    )
    def duration_p95(self) -> float | None:
        return self.found.duration(95)

    @strawberry.field(
        description=(
            "When they were created, oldest first: buckets without a gap, from the window's start (or the "
            "first execution) to its end (or now). At most 1,000, else INVALID_INPUT."
        )
    )
    async def timeline(
        self,
        info: Info,
        bucket: Annotated[TimeBucket, strawberry.argument(description="How long each bucket is.")],
    ) -> list[StatsBucket]:
        spans = await stats.timeline(info.context, self.workflow, self.chosen, bucket)
        return [StatsBucket.of(span) for span in spans]

    @classmethod
    def of(cls, found: Stats, chosen: StatsFilter, workflow: WorkflowRecord | None = None) -> Self:
        return cls(
            found=found,
            chosen=chosen,
            workflow=workflow,
            total=found.total,
            by_status=_status_counts(found.counts),
        )


def _status_counts(counts: Mapping[ExecutionStatus, int]) -> list[StatusCount]:
    return [StatusCount(status=status, count=count) for status, count in counts.items()]
