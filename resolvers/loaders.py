"""Loads that sibling fields share. They batch and never cache: a subscription lives long."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar
from uuid import UUID

from aiodataloader import DataLoader

from app.auth import Caller
from app.db import Connection, Database
from app.filters import Period
from app.records import ExecutionRecord, WorkflowRecord
from app.stats import Stats, TimeBucket
from app.store import executions, tallies, workflows
from app.store.tallies import Timeline

V = TypeVar("V")
Fetch = Callable[[Connection, Caller, Sequence[UUID]], Awaitable[dict[UUID, V]]]


class Loaders:
    """The loaders of one operation, made when first asked; what the caller may not see loads None."""

    def __init__(self, db: Database, caller: Caller) -> None:
        self._db = db
        self._caller = caller
        self._stats: dict[Period, DataLoader[UUID, Stats | None]] = {}
        self._timelines: dict[tuple[Period, TimeBucket], DataLoader[UUID, Timeline | None]] = {}

    @cached_property
    def workflow(self) -> DataLoader[UUID, WorkflowRecord | None]:
        return self._loader(workflows.by_ids)

    @cached_property
    def input_schema(self) -> DataLoader[UUID, Any]:
        return self._loader(workflows.input_schemas)

    @cached_property
    def execution(self) -> DataLoader[UUID, ExecutionRecord | None]:
        return self._loader(executions.by_ids)

    @cached_property
    def payloads(self) -> DataLoader[UUID, tuple[Any, Any] | None]:
        return self._loader(executions.payloads)

    def stats(self, created: Period) -> DataLoader[UUID, Stats | None]:
        """The stats of workflows, over the executions created in one period."""
        if created not in self._stats:
            self._stats[created] = self._loader(partial(tallies.stats_by_workflow, created=created))
        return self._stats[created]

    def timeline(self, created: Period, bucket: TimeBucket) -> DataLoader[UUID, Timeline | None]:
        """The timelines of workflows, over the executions created in one period."""
        key = created, bucket
        if key not in self._timelines:
            fetch = partial(tallies.timelines_by_workflow, created=created, bucket=bucket)
            self._timelines[key] = self._loader(fetch)
        return self._timelines[key]

    def _loader(self, fetch: Fetch[V]) -> DataLoader[UUID, V | None]:
        async def load(ids: list[UUID]) -> list[V | None]:
            async with self._db.read() as connection:
                found = await fetch(connection, self._caller, ids)
            return [found.get(id) for id in ids]

        return DataLoader(load, cache=False, max_batch_size=100)
