"""The tables as this server needs them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


def now() -> datetime:
    return datetime.now(UTC)


class Workflow(SQLModel, table=True):
    """What a user may start."""

    id: UUID = Field(primary_key=True)
    owner_id: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    workflow_type: str = Field(sa_type=Text)
    task_queue: str = Field(sa_type=Text)


class Execution(SQLModel, table=True):
    """One execution."""

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    owner_id: str = Field(sa_type=Text)
    workflow_id: UUID = Field(sa_column=Column(ForeignKey("workflow.id"), nullable=False))
    status: str = Field(sa_type=Text)
    version: int
    input: Any = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    output: Any = Field(default=None, sa_column=Column(JSONB(none_as_null=True)))
    started_by: str = Field(sa_type=Text)
    temporal_workflow_id: str = Field(sa_type=Text)
    temporal_run_id: str | None = Field(default=None, sa_type=Text)
    next_history_event: int = 1
    start_unsettled: bool = False
    created_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))
    started_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    completed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))


class ExecutionEvent(SQLModel, table=True):
    """One change of an execution."""

    __tablename__ = "execution_event"

    owner_id: str = Field(sa_type=Text, primary_key=True)
    position: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    execution_id: UUID = Field(sa_column=Column(ForeignKey("execution.id"), nullable=False))
    version: int
    type: str = Field(sa_type=Text)
    message: str = Field(sa_type=Text)
    timestamp: datetime = Field(sa_type=DateTime(timezone=True))


class ExecutionOut(SQLModel):
    """An execution as clients see it."""

    id: UUID
    status: str
    version: int
    input: Any
    output: Any
    started_by: str
    temporal_workflow_id: str
    temporal_run_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime


class ExecutionPage(SQLModel):
    """A page of executions and how many there are in all."""

    items: list[ExecutionOut]
    total: int


class WorkflowOut(SQLModel):
    """A workflow as part of its execution."""

    id: UUID
    name: str


class EventOut(SQLModel):
    """An event as part of its execution."""

    type: str
    message: str
    timestamp: datetime


class ExpandedExecution(SQLModel):
    """An execution with what belongs to it."""

    id: UUID
    status: str
    created_at: datetime
    workflow: WorkflowOut
    history: list[EventOut]


class ExpandedPage(SQLModel):
    """A page of executions, each with what belongs to it."""

    items: list[ExpandedExecution]
    total: int


class StatusCount(SQLModel):
    """How many executions have a status."""

    status: str
    count: int


class Stats(SQLModel):
    """How many executions there are."""

    total: int
    by_status: list[StatusCount]


class StartIn(SQLModel):
    """An execution to start."""

    workflow_id: UUID
    input: Any = None
