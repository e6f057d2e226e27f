"""The root fields of subscriptions."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from resolvers import events
from schema.info import Info
from schema.types import ExecutionEvent

ExecutionId = Annotated[strawberry.ID, strawberry.argument(description="The execution to watch.")]


@strawberry.type(
    description="What can be watched. Nothing is lost, doubled or out of order: events carry cursors."
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
        after: Annotated[
            str | None, strawberry.argument(description="A cursor of the feed: only events behind it.")
        ] = None,
    ) -> AsyncGenerator[ExecutionEvent, None]:
        async with aclosing(events.execution_events(info.context, execution_id, after)) as deliveries:
            async for delivery in deliveries:
                yield ExecutionEvent.delivered(delivery)

    @strawberry.subscription(
        description=(
            "All of the caller's executions: past events after `after` (from now on without it), "
            "then live, gapless and in order, without end."
        )
    )
    async def execution_feed(
        self,
        info: Info,
        after: Annotated[
            str | None, strawberry.argument(description="A cursor of the feed: only events behind it.")
        ] = None,
    ) -> AsyncGenerator[ExecutionEvent, None]:
        async with aclosing(events.execution_feed(info.context, after)) as deliveries:
            async for delivery in deliveries:
                yield ExecutionEvent.delivered(delivery)
