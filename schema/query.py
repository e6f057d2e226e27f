"""The root fields of queries."""

from typing import Annotated, cast

import strawberry

from app.filters import EVERY_EVENT, StatsFilter
from app.paging import Paging, feed_cursor
from app.records import EventRecord, ExecutionRecord, WorkflowRecord
from resolvers import events, executions, live, stats, viewer, workflows
from resolvers.viewer import NodeRecord
from schema.arguments import (
    After,
    Before,
    EventFilter,
    FeedAfter,
    Filter,
    First,
    IncludeArchived,
    Last,
    OrderBy,
    PageNumber,
    Search,
    StatsOf,
    WorkflowOrderBy,
)
from schema.info import Info, selects
from schema.inputs import execution_listing, workflow_listing
from schema.scalars import JSON
from schema.types import (
    ROWS,
    Execution,
    ExecutionConnection,
    ExecutionEvent,
    ExecutionEventConnection,
    ExecutionStats,
    Node,
    Viewer,
    Workflow,
    WorkflowConnection,
)

PAYLOADS = ("input", "output")
LISTED_PAYLOADS = [f"{way}.{name}" for way in ("nodes", "edges.node") for name in PAYLOADS]


@strawberry.type(
    description=(
        "What can be read. Everything needs a token, and each user sees their own. Workflows need its scope "
        "`workflows:read`, all else but `viewer` needs `executions:read`."
    )
)
class Query:
    @strawberry.field(description="Who is asking.")
    def viewer(self, info: Info) -> Viewer:
        return Viewer.of(viewer.viewer(info.context))

    @strawberry.field(
        description=(
            "Any object by its id. Null comes with an error: NOT_FOUND, or FORBIDDEN for another user's."
        )
    )
    async def node(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The object's id.")]
    ) -> Node | None:
        return _node(await viewer.node(info.context, id))

    @strawberry.field(
        description="One workflow. Null comes with an error: NOT_FOUND, or FORBIDDEN for another user's."
    )
    async def workflow(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The workflow's id.")]
    ) -> Workflow | None:
        return Workflow.of(await workflows.workflow(info.context, id))

    @strawberry.field(description="The caller's workflows, newest first by default.")
    async def workflows(
        self,
        info: Info,
        *,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        search: Search = None,
        include_archived: IncludeArchived = False,
        order_by: WorkflowOrderBy = None,
    ) -> WorkflowConnection:
        listing = workflow_listing(search, include_archived, order_by)
        page = await workflows.workflows(info.context, listing, Paging(first, after, last, before))
        return WorkflowConnection(page=page, listing=listing)

    @strawberry.field(
        description="One execution. Null comes with an error: NOT_FOUND, or FORBIDDEN for another user's."
    )
    async def execution(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The execution's id.")]
    ) -> Execution | None:
        if info.fieldset is not None:
            return Execution.of(await executions.rendered_execution(info.context, id, info.fieldset))
        return Execution.of(await executions.execution(info.context, id, payloads=selects(info, *PAYLOADS)))

    @strawberry.field(
        description=(
            "The caller's executions, newest first by default. Cursors belong to one order and one filter: "
            "another list refuses them. Going through a list by cursor shows every row that was there at the "
            "beginning once, whatever is added meanwhile; where the order is by a time that is still to come "
            "or to change, a row that gets it moves."
        )
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
    ) -> ExecutionConnection:
        asked = Paging(first, after, last, before, page)
        listing = execution_listing(filter, order_by)
        # Read before the page: what happens in between is then told twice, not never.
        position = await events.feed_head(info.context) if selects(info, "feedCursor") else 0
        found = await executions.executions(
            info.context,
            listing,
            asked,
            rows=selects(info, *ROWS),
            payloads=info.fieldset is None and selects(info, *LISTED_PAYLOADS),
            fieldset=info.fieldset,
        )
        return ExecutionConnection(
            page=found, listing=listing, size=asked.size, feed_cursor=feed_cursor(position)
        )

    @strawberry.field(
        description=(
            "The events that the subscription delivers, oldest first, for catching up by plain query: "
            "without a cursor from the oldest that is kept."
        )
    )
    async def execution_feed(
        self,
        info: Info,
        first: First = None,
        after: FeedAfter = None,
        filter: EventFilter = None,
    ) -> ExecutionEventConnection:
        chosen = EVERY_EVENT if filter is None else filter.filter()
        found = await events.execution_feed(info.context, Paging(first, after), chosen)
        return ExecutionEventConnection(page=found.page, source=chosen, position=found.position)

    @strawberry.field(
        description=(
            "Counts of the caller's executions, an admin's of everybody's: as quick for millions as for ten."
        )
    )
    async def execution_stats(self, info: Info, filter: StatsOf = None) -> ExecutionStats:
        chosen = StatsFilter() if filter is None else filter.filter()
        durations = selects(info, "durationP50", "durationP95")
        found = await stats.execution_stats(info.context, chosen, durations=durations)
        return ExecutionStats.of(found, chosen)

    @strawberry.field(
        description=(
            "Ask a workflow's code, by a Temporal Query; one that has ended answers too, while a worker "
            "runs. Fails with INVALID_INPUT where the workflow has no such query or its handler fails, with "
            "NOT_SUPPORTED while it is paused, and with UNAVAILABLE where no worker answers."
        )
    )
    async def query_execution(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The execution's id.")],
        query: Annotated[
            str, strawberry.argument(description="The query's name, as the workflow defines it.")
        ],
        arguments: Annotated[
            list[JSON] | None,
            strawberry.argument(description="The query's arguments, in order; null sends none."),
        ] = None,
    ) -> JSON | None:
        answer = await live.query_execution(info.context, id=id, query=query, arguments=arguments)
        return cast("JSON | None", answer)


def _node(record: NodeRecord) -> Node:
    match record:
        case WorkflowRecord():
            return Workflow.of(record)
        case ExecutionRecord():
            return Execution.of(record)
        case EventRecord():
            return ExecutionEvent.of(record)
