"""Lists as callers ask for them: narrowed, in an order, and with cursors of their own."""

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Self
from uuid import UUID

from app.filters import EVERY_EXECUTION, ExecutionFilter, digest
from app.paging import Binding, Key
from app.records import ExecutionRecord, WorkflowRecord
from app.rendering import Rendered


class OrderDirection(StrEnum):
    """Which end of an order comes first."""

    ASC = "ASC"
    DESC = "DESC"


class ExecutionOrderField(StrEnum):
    """What executions can be ordered by."""

    CREATED_AT = "CREATED_AT"
    STARTED_AT = "STARTED_AT"
    COMPLETED_AT = "COMPLETED_AT"
    UPDATED_AT = "UPDATED_AT"


class WorkflowOrderField(StrEnum):
    """What workflows can be ordered by."""

    CREATED_AT = "CREATED_AT"
    NAME = "NAME"


@dataclass(frozen=True)
class ExecutionListing:
    """Executions narrowed by a filter, in an order; rows of the same time stand in the order of their ids."""

    chosen: ExecutionFilter = EVERY_EXECUTION
    field: ExecutionOrderField = ExecutionOrderField.CREATED_AT
    direction: OrderDirection = OrderDirection.DESC

    @cached_property
    def binding(self) -> Binding:
        """What its cursors belong to."""
        return Binding("executions", f"{self.field} {self.direction}", digest(self.chosen))

    def key(self, execution: ExecutionRecord | Rendered) -> Key:
        """Where an execution stands in it."""
        if isinstance(execution, Rendered):
            return Key(execution.place, execution.key)
        return Key(getattr(execution, self.field.lower()), execution.id)

    def cursor(self, execution: ExecutionRecord | Rendered) -> str:
        """The cursor of an execution."""
        return self.binding.cursor(self.key(execution))

    def of_workflow(self, workflow_id: UUID) -> Self:
        """Its part that is one workflow's."""
        given = self.chosen.workflow_ids
        one = frozenset({workflow_id})
        return replace(self, chosen=replace(self.chosen, workflow_ids=one if given is None else one & given))


@dataclass(frozen=True)
class WorkflowListing:
    """Workflows narrowed by a part of their name, in an order, with the archived ones or without."""

    search: str | None = None
    archived: bool = False
    field: WorkflowOrderField = WorkflowOrderField.CREATED_AT
    direction: OrderDirection = OrderDirection.DESC

    @cached_property
    def binding(self) -> Binding:
        """What its cursors belong to."""
        narrowing = digest([self.search, self.archived])
        order = f"{self.field} {self.direction}"
        if self.field is WorkflowOrderField.NAME:
            return Binding("workflows", order, narrowing, kinds=(str,))
        return Binding("workflows", order, narrowing)

    def key(self, workflow: WorkflowRecord) -> Key:
        """Where a workflow stands in it."""
        return Key(getattr(workflow, self.field.lower()), workflow.id)

    def cursor(self, workflow: WorkflowRecord) -> str:
        """The cursor of a workflow."""
        return self.binding.cursor(self.key(workflow))
