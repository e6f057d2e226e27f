"""The tables and their closed sets of values; no queries."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Enum,
    ForeignKey,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy import DateTime as Timestamp
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


class ExecutionStatus(StrEnum):
    """Where an execution stands; the last three are final."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class ExecutionAction(StrEnum):
    """What may be asked of an execution."""

    PAUSE = "PAUSE"
    RESUME = "RESUME"
    CANCEL = "CANCEL"
    TERMINATE = "TERMINATE"
    COMPLETE = "COMPLETE"
    FAIL = "FAIL"
    SIGNAL = "SIGNAL"


class FailureReason(StrEnum):
    """Why an execution failed."""

    APPLICATION = "APPLICATION"
    TIMED_OUT = "TIMED_OUT"
    TERMINATED = "TERMINATED"
    START_REJECTED = "START_REJECTED"
    LOST = "LOST"


class EventType(StrEnum):
    """Life-cycle events first, then what happened inside the run."""

    EXECUTION_CREATED = "EXECUTION_CREATED"
    EXECUTION_STARTED = "EXECUTION_STARTED"
    EXECUTION_UPDATED = "EXECUTION_UPDATED"
    EXECUTION_PAUSED = "EXECUTION_PAUSED"
    EXECUTION_RESUMED = "EXECUTION_RESUMED"
    EXECUTION_CANCEL_REQUESTED = "EXECUTION_CANCEL_REQUESTED"
    EXECUTION_CONTINUED = "EXECUTION_CONTINUED"
    EXECUTION_COMPLETED = "EXECUTION_COMPLETED"
    EXECUTION_FAILED = "EXECUTION_FAILED"
    EXECUTION_CANCELLED = "EXECUTION_CANCELLED"
    ACTIVITY_SCHEDULED = "ACTIVITY_SCHEDULED"
    ACTIVITY_STARTED = "ACTIVITY_STARTED"
    ACTIVITY_COMPLETED = "ACTIVITY_COMPLETED"
    ACTIVITY_FAILED = "ACTIVITY_FAILED"
    ACTIVITY_TIMED_OUT = "ACTIVITY_TIMED_OUT"
    ACTIVITY_CANCELLED = "ACTIVITY_CANCELLED"
    TIMER_STARTED = "TIMER_STARTED"
    TIMER_FIRED = "TIMER_FIRED"
    TIMER_CANCELLED = "TIMER_CANCELLED"
    SIGNAL_RECEIVED = "SIGNAL_RECEIVED"
    UPDATE_ACCEPTED = "UPDATE_ACCEPTED"
    UPDATE_COMPLETED = "UPDATE_COMPLETED"
    CHILD_STARTED = "CHILD_STARTED"
    CHILD_COMPLETED = "CHILD_COMPLETED"
    CHILD_FAILED = "CHILD_FAILED"
    CHILD_CANCELLED = "CHILD_CANCELLED"


# What is not started or not completed comes after all that is.
LAST_STARTED = "COALESCE(started_at, 'infinity'::timestamp with time zone)"
LAST_COMPLETED = "COALESCE(completed_at, 'infinity'::timestamp with time zone)"
# What a search looks through, besides the workflow's name.
SEARCHED = "(temporal_workflow_id || ' '::text) || labels::text"
# What holds for every execution, once its first event is appended.
RECORDED = "version > 0"
# The hour of the tallies that have no hour.
ALL_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def _one_of(values: type[StrEnum], name: str, *, primary_key: bool = False) -> Any:
    """A text column with a CHECK: unlike a native enum, it takes a new value without a table rewrite."""
    known = Enum(values, native_enum=False, length=40, create_constraint=True, name=f"{name}_known")
    return Column(known, nullable=False, primary_key=primary_key)


def _timestamp(*, nullable: bool = False, default: str | None = None) -> Any:
    server_default = None if default is None else text(default)
    return Column(Timestamp(timezone=True), nullable=nullable, server_default=server_default)


def _json(*, nullable: bool = True) -> Any:
    return Column(JSONB(none_as_null=True), nullable=nullable)


SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Workflow(SQLModel, table=True):
    """What one user may start: a Temporal workflow type on a task queue."""

    __tablename__ = "workflow"
    __table_args__ = (
        Index("ix_workflow_owner_newest", "owner_id", text("created_at DESC"), text("id DESC")),
        Index("ix_workflow_owner_name", "owner_id", "name", "id"),
        Index("ix_workflow_newest", text("created_at DESC"), text("id DESC")),
        Index("ix_workflow_name", "name", "id"),
        Index(
            "ix_workflow_owner_search",
            "owner_id",
            "name",
            postgresql_using="gin",
            postgresql_ops={"name": "gin_trgm_ops"},
        ),
        CheckConstraint("execution_timeout > 0", name="execution_timeout_positive"),
    )

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    owner_id: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    workflow_type: str = Field(sa_type=Text)
    task_queue: str = Field(sa_type=Text)
    input_schema: Any = Field(default=None, sa_column=_json())
    execution_timeout: int | None = Field(default=None, description="seconds")
    created_at: datetime = Field(sa_column=_timestamp())
    updated_at: datetime = Field(sa_column=_timestamp())
    archived_at: datetime | None = Field(default=None, sa_column=_timestamp(nullable=True))


def _of_all_owners(name: str, *columns: str) -> Index:
    """An index for a list of all owners' executions.

    No owner's list may be read through it, past everybody's: hence the condition, which holds for all rows,
    but which Postgres finds in the questions of admins alone.
    """
    keys = [text(column) for column in (*columns, "id DESC")]
    return Index(f"ix_execution_{name}", *keys, postgresql_where=text(RECORDED))


class Execution(SQLModel, table=True):
    """One execution as it is now: the projection of its events."""

    __tablename__ = "execution"
    __table_args__ = (
        Index("ix_execution_owner_newest", "owner_id", text("created_at DESC"), text("id DESC")),
        Index("ix_execution_owner_started", "owner_id", text(f"{LAST_STARTED} DESC"), text("id DESC")),
        Index("ix_execution_owner_completed", "owner_id", text(f"{LAST_COMPLETED} DESC"), text("id DESC")),
        Index("ix_execution_owner_updated", "owner_id", text("updated_at DESC"), text("id DESC")),
        Index(
            "ix_execution_owner_status_newest",
            "owner_id",
            "status",
            text("created_at DESC"),
            text("id DESC"),
        ),
        _of_all_owners("newest", "created_at DESC"),
        _of_all_owners("started", f"{LAST_STARTED} DESC"),
        _of_all_owners("completed", f"{LAST_COMPLETED} DESC"),
        _of_all_owners("updated", "updated_at DESC"),
        _of_all_owners("status_newest", "status", "created_at DESC"),
        Index("ix_execution_workflow_newest", "workflow_id", text("created_at DESC"), text("id DESC")),
        Index(
            "ix_execution_owner_labels",
            "owner_id",
            "labels",
            postgresql_using="gin",
            postgresql_ops={"labels": "jsonb_path_ops"},
        ),
        Index(
            "ix_execution_owner_search",
            "owner_id",
            literal_column(f"({SEARCHED})").label("searched"),
            postgresql_using="gin",
            postgresql_ops={"searched": "gin_trgm_ops"},
        ),
        Index(
            "ix_execution_open",
            "created_at",
            postgresql_where=text("status IN ('PENDING', 'RUNNING', 'PAUSED')"),
        ),
        Index(
            "ix_execution_unconfirmed",
            "confirmed_at",
            postgresql_where=text("status IN ('PENDING', 'RUNNING', 'PAUSED')"),
        ),
        Index("ix_execution_unsettled_start", "created_at", postgresql_where=text("start_unsettled")),
    )

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    owner_id: str = Field(sa_type=Text)
    workflow_id: UUID = Field(sa_column=Column(ForeignKey("workflow.id"), nullable=False))
    status: ExecutionStatus = Field(sa_column=_one_of(ExecutionStatus, "status"))
    version: int = Field(description="grows by one with every event")
    input: Any = Field(default=None, sa_column=_json())
    output: Any = Field(default=None, sa_column=_json())
    failure: Any = Field(default=None, sa_column=_json())
    labels: Any = Field(
        sa_column=Column(JSONB(), nullable=False, server_default=text("'{}'")), description="key to value"
    )
    rerun_of: UUID | None = Field(default=None, sa_column=Column(ForeignKey("execution.id"), nullable=True))
    start_delay: int | None = Field(default=None, description="seconds from its creation to the first task")
    started_by: str = Field(sa_type=Text)
    temporal_workflow_id: str = Field(sa_type=Text, unique=True)
    temporal_run_id: str | None = Field(default=None, sa_type=Text)
    next_history_event: int = Field(default=1, description="of the current run: the first id not recorded")
    start_unsettled: bool = Field(default=True, description="whether Temporal has the start is not known")
    tracker_id: UUID | None = Field(default=None, description="who follows it, while that tracker lives")
    confirmed_at: datetime = Field(
        sa_column=_timestamp(default="now()"), description="when Temporal was last asked about it"
    )
    cancel_requested_at: datetime | None = Field(default=None, sa_column=_timestamp(nullable=True))
    created_at: datetime = Field(sa_column=_timestamp())
    started_at: datetime | None = Field(default=None, sa_column=_timestamp(nullable=True))
    completed_at: datetime | None = Field(default=None, sa_column=_timestamp(nullable=True))
    updated_at: datetime = Field(sa_column=_timestamp())


class ExecutionEvent(SQLModel, table=True):
    """One change of an execution, at its place in the owner's feed."""

    __tablename__ = "execution_event"
    __table_args__ = (
        UniqueConstraint("execution_id", "version"),
        Index("ix_execution_event_execution_position", "execution_id", "position"),
    )

    owner_id: str = Field(sa_type=Text, primary_key=True)
    position: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    execution_id: UUID = Field(sa_column=Column(ForeignKey("execution.id"), nullable=False))
    version: int
    type: EventType = Field(sa_column=_one_of(EventType, "type"))
    status: ExecutionStatus = Field(sa_column=_one_of(ExecutionStatus, "status"))
    message: str = Field(sa_type=Text)
    timestamp: datetime = Field(sa_column=_timestamp())
    actor: str | None = Field(default=None, sa_type=Text)
    details: Any = Field(default=None, sa_column=_json())
    recorded_at: datetime = Field(sa_column=_timestamp(default="now()"))


class ExecutionTally(SQLModel, table=True):
    """How many executions of a workflow, created in one hour, have a status.

    Kept in the transaction of each event, under the lock of the owner's feed. Every execution counts twice:
    in the row of its hour and in that of `ALL_TIME`.
    """

    __tablename__ = "execution_tally"
    # Neither has the count, whose update then touches no index.
    __table_args__ = (
        Index("ix_execution_tally_owner_hour", "owner_id", "hour"),
        Index("ix_execution_tally_hour", "hour"),
    )

    owner_id: str = Field(sa_type=Text, primary_key=True)
    workflow_id: UUID = Field(primary_key=True)
    hour: datetime = Field(sa_column=Column(Timestamp(timezone=True), primary_key=True))
    status: ExecutionStatus = Field(sa_column=_one_of(ExecutionStatus, "status", primary_key=True))
    duration_bucket: int = Field(
        sa_column=Column(SmallInteger, primary_key=True, autoincrement=False),
        description="0 since migration 0005, but for what an older process still tells apart by it",
    )
    count: int = Field(sa_column=Column(BigInteger, nullable=False))


class DurationTally(SQLModel, table=True):
    """How many executions of a workflow, created in one hour, have completed and took about so long.

    Kept as `ExecutionTally` is, and apart from it: counts read a row for each status, whatever took how long.
    """

    __tablename__ = "duration_tally"
    __table_args__ = (
        Index("ix_duration_tally_owner_hour", "owner_id", "hour"),
        Index("ix_duration_tally_hour", "hour"),
    )

    owner_id: str = Field(sa_type=Text, primary_key=True)
    workflow_id: UUID = Field(primary_key=True)
    hour: datetime = Field(sa_column=Column(Timestamp(timezone=True), primary_key=True))
    bucket: int = Field(
        sa_column=Column(SmallInteger, primary_key=True, autoincrement=False),
        description="as `stats.seconds` reads it",
    )
    count: int = Field(sa_column=Column(BigInteger, nullable=False))


class Request(SQLModel, table=True):
    """A start that carried an idempotency key, and what it started."""

    __tablename__ = "request"

    owner_id: str = Field(sa_type=Text, primary_key=True)
    key: str = Field(sa_type=Text, primary_key=True)
    fingerprint: str = Field(sa_type=Text, description="SHA-256 of the request")
    execution_id: UUID
    created_at: datetime = Field(sa_column=_timestamp(default="now()"))


class Feed(SQLModel, table=True):
    """An owner's dense event counter; its row lock orders the owner's transactions."""

    __tablename__ = "feed"

    owner_id: str = Field(sa_type=Text, primary_key=True)
    last_position: int = Field(sa_column=Column(BigInteger, nullable=False))
    pruned_through: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))


class Tracker(SQLModel, table=True):
    """A tracker that lives: its hold on executions ends with `alive_until`."""

    __tablename__ = "tracker"

    id: UUID = Field(primary_key=True)
    alive_until: datetime = Field(sa_column=_timestamp())


class Sweep(SQLModel, table=True):
    """How far a kind of sweep has come, and which tracker does it."""

    __tablename__ = "sweep"

    name: str = Field(sa_type=Text, primary_key=True)
    holder: UUID
    held_until: datetime = Field(sa_column=_timestamp())
    watermark: datetime = Field(sa_column=_timestamp())


METADATA = SQLModel.metadata
