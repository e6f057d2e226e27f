"""The root fields of queries."""

from typing import Annotated

import strawberry

from app.filters import StatsFilter
from app.records import EventRecord, ExecutionRecord, WorkflowRecord
from resolvers import events, executions, stats, viewer, workflows
from resolvers.viewer import NodeRecord
from schema.info import Info, selects
from schema.types import (
    After,
    Execution,
    ExecutionConnection,
    ExecutionEvent,
    ExecutionEventConnection,
    ExecutionStats,
    First,
    Node,
    StatsOf,
    Viewer,
    Workflow,
    WorkflowConnection,
)

IncludeArchived = Annotated[
    bool | None, strawberry.argument(description="Whether archived workflows are listed too.")
]


@strawberry.type(description="What can be read. Everything needs a token; each user sees their own.")
class Query:
    @strawberry.field(description="Who is asking.")
    def viewer(self, info: Info) -> Viewer:
        return Viewer.of(viewer.viewer(info.context))

    @strawberry.field(
        description="Any object by its id. Fails with NOT_FOUND, or FORBIDDEN for another owner's."
    )
    async def node(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The object's id.")]
    ) -> Node | None:
        return _node(await viewer.node(info.context, id))

    @strawberry.field(description="One workflow. Fails with NOT_FOUND, or FORBIDDEN for another owner's.")
    async def workflow(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The workflow's id.")]
    ) -> Workflow | None:
        return Workflow.of(await workflows.workflow(info.context, id))

    @strawberry.field(description="The caller's workflows, newest first.")
    async def workflows(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        include_archived: IncludeArchived = False,
    ) -> WorkflowConnection:
        archived = bool(include_archived)
        page = await workflows.workflows(info.context, first, after, include_archived=archived)
        return WorkflowConnection.of(page, archived=archived)

    @strawberry.field(description="One execution. Fails with NOT_FOUND, or FORBIDDEN for another owner's.")
    async def execution(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The execution's id.")]
    ) -> Execution | None:
        return Execution.of(await executions.execution(info.context, id))

    @strawberry.field(description="The caller's executions, newest first.")
    async def executions(self, info: Info, first: First = None, after: After = None) -> ExecutionConnection:
        # Read before the page: what happens in between is then told twice, not never.
        position = await events.feed_head(info.context) if selects(info, "feedCursor") else 0
        return ExecutionConnection.of(await executions.executions(info.context, first, after), position)

    @strawberry.field(
        description="The events that the subscription delivers, oldest first, for catching up by plain query."
    )
    async def execution_feed(
        self, info: Info, first: First = None, after: After = None
    ) -> ExecutionEventConnection:
        return ExecutionEventConnection.of_feed(await events.execution_feed(info.context, first, after))

    @strawberry.field(
        description="Counts of the caller's executions, an admin's of everybody's: as quick for millions."
    )
    async def execution_stats(self, info: Info, filter: StatsOf = None) -> ExecutionStats:
        chosen = StatsFilter() if filter is None else filter.filter()
        return ExecutionStats.of(await stats.execution_stats(info.context, chosen), chosen)


def _node(record: NodeRecord) -> Node:
    match record:
        case WorkflowRecord():
            return Workflow.of(record)
        case ExecutionRecord():
            return Execution.of(record)
        case EventRecord():
            return ExecutionEvent.of(record)
