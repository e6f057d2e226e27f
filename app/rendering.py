"""Objects as the JSON that Postgres makes of their rows: what a client gets unchanged is not taken apart."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import orjson

from app.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE


@dataclass(frozen=True)
class Variable:
    """A value that comes with the request."""

    name: str


@dataclass(frozen=True)
class Part:
    """An object within another, by the name of its attribute; of a list the `first` ones."""

    name: str
    fieldset: "Fieldset"
    first: int | Variable | None = None

    def bound(self, given: Mapping[str, Any]) -> Self:
        """The same with the values of a request's variables; raises ValueError for a size of no list."""
        first = given.get(self.first.name) if isinstance(self.first, Variable) else self.first
        size = DEFAULT_PAGE_SIZE if first is None else first
        if not 1 <= size <= MAX_PAGE_SIZE:
            raise ValueError(size)
        return replace(self, fieldset=self.fieldset.bound(given), first=size)


@dataclass(frozen=True)
class Fieldset:
    """What is selected of an object: under which key which attribute or part, in order.

    `__typename` is an attribute of all.
    """

    typename: str
    fields: tuple[tuple[str, str | Part], ...]

    @cached_property
    def has_parts(self) -> bool:
        return any(isinstance(each, Part) for _, each in self.fields)

    def bound(self, given: Mapping[str, Any]) -> Self:
        """The same with the values of a request's variables; raises ValueError for a size of no list."""
        if not self.has_parts:
            return self
        fields = [(key, each.bound(given) if isinstance(each, Part) else each) for key, each in self.fields]
        return replace(self, fields=tuple(fields))


class Rendered(NamedTuple):
    """The JSON of what is selected of an object, and what it is known by: a key, and its place in a list.

    It stands where the object would, as its own answer.
    """

    json: orjson.Fragment
    key: Any
    place: Any
