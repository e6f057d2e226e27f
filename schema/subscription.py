"""The root fields of subscriptions."""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Annotated

import strawberry

from app.filters import EVERY_EVENT, EVERY_EXECUTION, StatsFilter
from resolvers import events, stats
from schema.arguments import EventFilter, FeedAfter, Filter, StatsOf
from schema.info import Info
from schema.shared import Live
from schema.types import Execution, ExecutionEvent, ExecutionStats

ExecutionId = Annotated[strawberry.ID, strawberry.argument(description="The execution to watch.")]


@strawberry.type(
    description=(
        "What can be watched. Nothing is lost, doubled or out of order: events carry cursors. "
        "All of it needs the token's scope `executions:read`."
    )
)
class Subscription:
    @strawberry.subscription(
        description=(
            "One execution: past events after `after` (all of them without it), then live; "
            "completes after its last event."
        )
    )
    async def execution_events(
        self,
        info: Info,
        execution_id: ExecutionId,
        after: FeedAfter = None,
    ) -> AsyncIterable[ExecutionEvent]:
        watch = await events.watch_execution_events(info.context, execution_id, after)
        return Live(watch, ExecutionEvent.of)

    @strawberry.subscription(
        description=(
            "All of the caller's executions: past events after `after` (from now on without it), "
            "then live, gapless and in order, without end."
        )
    )
    async def execution_feed(
        self,
        info: Info,
        after: FeedAfter = None,
        filter: EventFilter = None,
    ) -> AsyncIterable[ExecutionEvent]:
        chosen = EVERY_EVENT if filter is None else filter.filter()
        watch = await events.watch_execution_feed(info.context, after, chosen)
        return Live(watch, ExecutionEvent.of)

    @strawberry.subscription(
        description=(
            "The newest state of each changed execution, from the next change on; conflated for slow "
            "readers: for lists and dashboards."
        )
    )
    async def execution_updated(
        self,
        info: Info,
        filter: Filter = None,
    ) -> AsyncIterable[Execution]:
        chosen = EVERY_EXECUTION if filter is None else filter.filter()
        watch = await events.watch_execution_updated(info.context, chosen)
        return Live(watch, Execution.delivered)

    @strawberry.subscription(
        description=(
            "The counts now, then whenever they have changed: once a second at most, the newest last. "
            "An admin's are of everybody's executions, looked at every five seconds."
        )
    )
    async def execution_stats(
        self, info: Info, filter: StatsOf = None
    ) -> AsyncGenerator[ExecutionStats, None]:
        chosen = StatsFilter() if filter is None else filter.filter()
        async with aclosing(stats.watch_execution_stats(info.context, chosen)) as changes:
            async for newer in changes:
                yield ExecutionStats.of(newer, chosen)
