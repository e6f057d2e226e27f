"""Loads that sibling fields share. They batch and never cache: a subscription lives long."""

from collections.abc import Awaitable, Callable, Sequence
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
    """The loaders of one operation; a key that the caller may not see loads None."""

    def __init__(self, db: Database, caller: Caller) -> None:
        self.workflow: DataLoader[UUID, WorkflowRecord | None] = _loader(db, caller, workflows.by_ids)
        self.input_schema: DataLoader[UUID, Any] = _loader(db, caller, workflows.input_schemas)
        self.execution: DataLoader[UUID, ExecutionRecord | None] = _loader(db, caller, executions.by_ids)
        self.payloads: DataLoader[UUID, tuple[Any, Any] | None] = _loader(db, caller, executions.payloads)


def _loader(db: Database, caller: Caller, fetch: Fetch[V]) -> DataLoader[UUID, V | None]:
    async def load(ids: list[UUID]) -> list[V | None]:
        async with db.read() as connection:
            found = await fetch(connection, caller, ids)
        return [found.get(id) for id in ids]

    return DataLoader(load, cache=False, max_batch_size=100)
