"""What is made once of nodes that recur: documents are parsed once, and executed again and again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from graphql import GraphQLObjectType
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList

T = TypeVar("T")

# Twice as many are kept at most.
MAX_SELECTIONS = 2_000


@dataclass(slots=True)
class Met(Generic[T]):
    """What was made of selected nodes when they were met again. It keeps them: no others get their ids."""

    object_type: GraphQLObjectType
    details: FieldDetailsList
    met_again: bool = False
    made: T | None = None


class Recurring(Generic[T]):
    """What is made of the nodes selected of a type of object.

    It is made when they are met again, since that costs as much as some objects read without it.
    """

    def __init__(
        self, make: Callable[[Executor[Any], GraphQLObjectType, FieldDetailsList], T | None]
    ) -> None:
        self._make = make
        self._recent: dict[tuple[int, ...], Met[T]] = {}
        self._older: dict[tuple[int, ...], Met[T]] = {}

    def of(
        self, executor: Executor[Any], object_type: GraphQLObjectType, details: FieldDetailsList
    ) -> T | None:
        """What there is for the nodes; None where there is nothing so far, or can be nothing."""
        key = _key(object_type, details)
        met = self._recent.get(key)
        if met is None:
            met = self._older.get(key)
            if met is None:
                self._keep(key, Met(object_type, details))
                return None
            self._keep(key, met)
        if not met.met_again:
            met.met_again = True
            met.made = self._make(executor, object_type, details)
        return met.made

    def made(self, object_type: GraphQLObjectType, details: FieldDetailsList) -> T | None:
        """What there is by now."""
        key = _key(object_type, details)
        met = self._recent.get(key) or self._older.get(key)
        return None if met is None else met.made

    def _keep(self, key: tuple[int, ...], met: Met[T]) -> None:
        if len(self._recent) >= MAX_SELECTIONS:
            self._recent, self._older = {}, self._recent
        self._recent[key] = met


def _key(object_type: GraphQLObjectType, details: FieldDetailsList) -> tuple[int, ...]:
    return (id(object_type), *[id(each.node) for each in details])
