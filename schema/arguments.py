"""The arguments that fields share, with their descriptions."""

from typing import Annotated

import strawberry

from app.tables import EventType
from schema.inputs import (
    DateTimeRange,
    ExecutionEventFilterInput,
    ExecutionFilterInput,
    ExecutionOrderInput,
    ExecutionStatsFilterInput,
    WorkflowOrderInput,
)

First = Annotated[
    int | None,
    strawberry.argument(
        description="How many at most, from the front: 1 to 100, 10 by default. Not together with `last`."
    ),
]
After = Annotated[
    str | None,
    strawberry.argument(description="A cursor of the same list: only what follows it is returned."),
]
Last = Annotated[
    int | None,
    strawberry.argument(
        description=(
            "How many at most, from the back: 1 to 100. The page is in the list's order all the same. "
            "Not together with `first`."
        )
    ),
]
Before = Annotated[
    str | None,
    strawberry.argument(
        description=(
            "A cursor of the same list: only what precedes it is returned; without `first` and `after` the "
            "nearest 10 by default."
        )
    ),
]
PageNumber = Annotated[
    int | None,
    strawberry.argument(
        description=(
            "Counts pages of `first` items from 1, instead of a cursor, for page-number widgets. Within the "
            "first 10,000 items; rows that come or go shift the pages, which cursors are safe from."
        )
    ),
]
Filter = Annotated[
    ExecutionFilterInput | None, strawberry.argument(description="Only executions that match; null: all.")
]
EventFilter = Annotated[
    ExecutionEventFilterInput | None, strawberry.argument(description="Only events that match; null: all.")
]
OrderBy = Annotated[
    ExecutionOrderInput | None,
    strawberry.argument(description="The list's order: newest first by default."),
]
IncludeArchived = Annotated[
    bool | None, strawberry.argument(description="Whether archived workflows are listed too.")
]
Search = Annotated[
    str | None,
    strawberry.argument(
        description=(
            "Only workflows with this text in their name, upper case or lower: 1 to 255 characters, blanks "
            "around it left out."
        )
    ),
]
WorkflowOrderBy = Annotated[
    WorkflowOrderInput | None,
    strawberry.argument(description="The list's order: newest first by default."),
]
EventTypes = Annotated[
    list[EventType] | None,
    strawberry.argument(description="Only events of these types; null: all; an empty list: none."),
]
FeedAfter = Annotated[
    str | None, strawberry.argument(description="A cursor of the feed: only events behind it.")
]
StatsOf = Annotated[
    ExecutionStatsFilterInput | None, strawberry.argument(description="Only executions that match.")
]
CreatedAt = Annotated[
    DateTimeRange | None, strawberry.argument(description="Only those created in this time span.")
]
