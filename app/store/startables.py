"""Workflows as they were when they were last read: whoever takes one has Postgres compare."""

from typing import Final
from uuid import UUID

from sqlalchemy.util import LRUCache

from app.records import Startable

# An input schema has 64 KiB at most.
CAPACITY: Final = 250


class Startables(LRUCache[UUID, Startable]):
    """Those that were started last, by their ids."""

    def __init__(self) -> None:
        super().__init__(CAPACITY)
