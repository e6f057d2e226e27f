"""Loads that sibling fields share. They batch and never cache: a subscription lives long."""

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

from aiodataloader import DataLoader

from app.auth import Caller
from app.db import Connection, Database
from app.records import ExecutionRecord, WorkflowRecord
from app.store import executions, workflows

V = TypeVar("V")
Fetch = Callable[[Connection, Caller, Sequence[UUID]], Awaitable[dict[UUID, V]]]


class Loaders:
    """The loaders of one operation, made when first asked; what the caller may not see loads None."""

    def __init__(self, db: Database, caller: Caller) -> None:
        self._db = db
        self._caller = caller

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

    def _loader(self, fetch: Fetch[V]) -> DataLoader[UUID, V | None]:
        async def load(ids: list[UUID]) -> list[V | None]:
            async with self._db.read() as connection:
                found = await fetch(connection, self._caller, ids)
            return [found.get(id) for id in ids]

        return DataLoader(load, cache=False, max_batch_size=100)
