"""Loads that sibling fields share. They batch and never cache: a subscription lives long."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar
from uuid import UUID

from aiodataloader import DataLoader

from app.auth import Caller
from app.db import Connection, Database, outlasting
from app.filters import ExecutionFilter, Period
from app.listings import ExecutionListing
from app.paging import Key, Page, Window
from app.records import EventRecord, ExecutionRecord, Payloads, WorkflowRecord
from app.stats import Stats, TimeBucket
from app.store import events, executions, tallies, workflows
from app.store.tallies import Timeline
from app.tables import EventType, ExecutionStatus

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Fetch = Callable[[Connection, Caller, Sequence[K]], Awaitable[dict[K, V]]]


class Loaders:
    """The loaders of one operation, made when first asked; what the caller may not see loads None.

    A list of lists has a loader for each set of arguments: its lists are read together. Where they are
    `patient`, they load through outages.
    """

    def __init__(self, db: Database, caller: Caller) -> None:
        self._db = db
        self._caller = caller
        self.patient = False
        self._by_arguments: dict[Hashable, DataLoader[Any, Any]] = {}
        self._reading: set[asyncio.Task[Any]] = set()

    def stop(self) -> None:
        """Give up what is still being read: nobody waits for it any more."""
        for task in self._reading:
            task.cancel()

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
    def payloads(self) -> DataLoader[UUID, Payloads | None]:
        return self._loader(executions.payloads)

    @cached_property
    def feed_head(self) -> DataLoader[str, int | None]:
        return self._loader(_heads)

    @cached_property
    def execution_count(self) -> DataLoader[ExecutionFilter, int]:
        return self._loader(_counts)

    def workflow_executions(
        self, listing: ExecutionListing, window: Window[Key]
    ) -> DataLoader[UUID, Page[ExecutionRecord]]:
        """Of each workflow, that page of its executions."""
        return self._with(executions.pages, listing, window)

    def workflow_execution_count(self, chosen: ExecutionFilter) -> DataLoader[UUID, int]:
        """Of each workflow, how many of its executions are chosen."""
        return self._with(_counts_by_workflow, chosen)

    def history(
        self, window: Window[int], types: frozenset[EventType] | None
    ) -> DataLoader[UUID, Page[EventRecord]]:
        """Of each execution, that page of its events."""
        return self._with(events.histories, window, types)

    def event_count(self, types: frozenset[EventType] | None) -> DataLoader[UUID, int]:
        """Of each execution, how many events of these types are kept."""
        return self._with(events.counts, types)

    def stats(self, created: Period) -> DataLoader[UUID, Stats | None]:
        """The stats of workflows, over the executions created in one period."""
        return self._with(tallies.stats_by_workflow, created)

    def timeline(self, created: Period, bucket: TimeBucket) -> DataLoader[UUID, Timeline | None]:
        """The timelines of workflows, over the executions created in one period."""
        return self._with(tallies.timelines_by_workflow, created, bucket)

    def _with(self, fetch: Callable[..., Any], *arguments: Hashable) -> DataLoader[Any, Any]:
        key = (fetch, *arguments)
        if key not in self._by_arguments:
            self._by_arguments[key] = self._loader(
                lambda connection, caller, ids: fetch(connection, caller, ids, *arguments)
            )
        return self._by_arguments[key]

    def _loader(self, fetch: Fetch[K, V]) -> DataLoader[K, Any]:
        async def read(ids: Sequence[K]) -> dict[K, V]:
            async with self._db.read() as connection:
                return await fetch(connection, self._caller, ids)

        async def load(ids: list[K]) -> list[V | None]:
            # A batch has a task of its own, which does not end with those that wait for it.
            task = asyncio.current_task()
            assert task is not None
            self._reading.add(task)
            try:
                found = await (outlasting(partial(read, ids)) if self.patient else read(ids))
            finally:
                self._reading.discard(task)
            return [found.get(id) for id in ids]

        return DataLoader(load, cache=False, max_batch_size=100)


async def _heads(connection: Connection, _: Caller, owners: Sequence[str]) -> dict[str, int]:
    return await events.heads(connection, list(set(owners)))


async def _counts(
    connection: Connection, caller: Caller, filters: Sequence[ExecutionFilter]
) -> dict[ExecutionFilter, int]:
    return {chosen: await _count(connection, caller, chosen) for chosen in set(filters)}


async def _count(connection: Connection, caller: Caller, chosen: ExecutionFilter) -> int:
    if chosen.is_tallied:
        return await tallies.total(connection, caller, chosen.workflow_ids, chosen.statuses)
    return await executions.count(connection, caller, chosen)


async def _counts_by_workflow(
    connection: Connection, caller: Caller, ids: Sequence[UUID], chosen: ExecutionFilter
) -> dict[UUID, int]:
    if not chosen.is_tallied:
        return await executions.counts_by_workflow(connection, caller, ids, chosen)
    found = await tallies.stats_by_workflow(connection, caller, ids, Period(), durations=False)
    wanted = ids if chosen.workflow_ids is None else chosen.workflow_ids
    statuses = ExecutionStatus if chosen.statuses is None else chosen.statuses
    return {id: sum(found[id].counts[each] for each in statuses) if id in wanted else 0 for id in ids}
