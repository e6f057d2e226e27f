"""Statements as asyncpg takes them: written with SQLAlchemy, and compiled once for each shape of theirs."""

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import BindParameter, ClauseElement, Compiled, Enum
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import LRUCache

SHAPES = 1_000

_DIALECT = dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy has it so

Values = Mapping[str, Any]


R = TypeVar("R")


class MissingRow(LookupError):
    """A statement has not the one row that it must have."""


@dataclass(frozen=True)
class Shape:
    """What statements share that differ in their values alone."""

    compiled: SQLCompiler

    @cached_property
    def text(self) -> str:
        return str(self.compiled)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The values that the text takes, in their order."""
        return tuple(self.compiled.positiontup or ())

    @cached_property
    def defaults(self) -> Sequence[tuple[str, Any]]:
        """What the columns of a new row have by default that are not given, by name."""
        return [(column.key, column.default) for column in self.compiled.insert_prefetch]

    @cached_property
    def enums(self) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """The places of columns with members of enums, which Postgres keeps as texts."""
        types = [each.type for each in self.compiled._result_columns]  # noqa: SLF001 - nothing else tells
        return [
            (place, {None: None, **type.enum_class.__members__})  # type: ignore[dict-item]  # of no member
            for place, type in enumerate(types)
            if isinstance(type, Enum) and type.enum_class is not None
        ]

    def ordered(self, values: Values, bound: Sequence[BindParameter[Any]]) -> list[Any]:
        """The values that the text takes: the given ones, and those that the statement itself has bound."""
        given = self.compiled.construct_params(dict(values), extracted_parameters=bound)
        for name, default in self.defaults:
            given[name] = default.arg(None) if default.is_callable else default.arg
        return [given[name] for name in self.names]

    def values(self, record: asyncpg.Record) -> Iterable[Any]:
        """The values of a row that has enums."""
        values = list(record)
        for place, members in self.enums:
            values[place] = members[values[place]]
        return values


@dataclass(frozen=True)
class Rows:
    """What a statement returned, all of it."""

    shape: Shape
    records: Sequence[asyncpg.Record]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all())

    def all(self) -> list[Any]:
        """Each as a named tuple of its columns."""
        return self.of(_row(*self.records[0].keys())._make) if self.records else []

    def of(self, make: Callable[[Iterable[Any]], R]) -> list[R]:
        """What is made of each, such as a named tuple that has just these columns."""
        if not self.shape.enums:
            return [make(record) for record in self.records]
        return [make(self.shape.values(record)) for record in self.records]

    def one(self) -> Any:
        """The only row; raises MissingRow."""
        if len(self.records) != 1:
            raise MissingRow(f"{len(self.records)} rows where there must be one")
        return self.all()[0]

    def one_or_none(self) -> Any:
        """The only row, if there is any; raises MissingRow where there are several."""
        return self.one() if self.records else None

    def scalars(self) -> list[Any]:
        """The first column."""
        return [row[0] for row in self.all()]

    def scalar_one(self) -> Any:
        """The first column of the only row; raises MissingRow."""
        return self.one()[0]

    def scalar_one_or_none(self) -> Any:
        """The first column of the only row, if there is any; raises MissingRow where there are several."""
        return self.scalar_one() if self.records else None


@lru_cache(SHAPES)
def _row(*columns: str) -> Any:
    """The class of rows with such columns."""
    return namedtuple("Row", columns, rename=True)


class Prepared:
    """A statement that is made once: each execution brings the values for its names, or for its columns."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._ready: dict[tuple[str, ...], tuple[Shape, Values]] = {}

    def ready(self, values: Values) -> tuple[Shape, list[Any]]:
        """Its shape for values of these names, and the values in their order.

        Raises KeyError for a missing one.
        """
        names = tuple(values)
        found = self._ready.get(names)
        if found is None:
            found = self._ready[names] = self._compiled(names)
        shape, constants = found
        every = {**constants, **values} if constants else values
        return shape, [every[name] for name in shape.names]

    def _compiled(self, names: tuple[str, ...]) -> tuple[Shape, Values]:
        """Its shape, and the values that it has bound itself."""
        shape = Shape(_compiler(self._statement.compile(dialect=_DIALECT, column_keys=list(names))))
        binds = shape.compiled.binds
        constants = {name: binds[name].value for name in shape.names if not binds[name].required}
        constants |= {name: each.arg for name, each in shape.defaults if not each.is_callable}
        return shape, constants


class Statements:
    """The shapes of the statements that are written anew for each execution."""

    def __init__(self) -> None:
        self._shapes: LRUCache[Any, Shape] = LRUCache(SHAPES)

    def ready(self, statement: ClauseElement | Prepared, values: Values) -> tuple[Shape, list[Any]]:
        """The shape of a statement, and its values in the order of its text."""
        if isinstance(statement, Prepared):
            return statement.ready(values)
        shape, bound = self._found(statement, tuple(values))
        return shape, shape.ordered(values, bound)

    def ready_for_many(
        self, statement: ClauseElement | Prepared, rows: Sequence[Values]
    ) -> tuple[Shape, list[Sequence[Any]]]:
        """The shape of a statement, and its values for each of several executions."""
        if isinstance(statement, Prepared):
            ready = [statement.ready(each) for each in rows]
            return ready[0][0], [values for _, values in ready]
        shape, bound = self._found(statement, tuple(rows[0]))
        return shape, [shape.ordered(each, bound) for each in rows]

    def _found(self, statement: ClauseElement, columns: tuple[str, ...]) -> tuple[Shape, Sequence[Any]]:
        key = statement._generate_cache_key()  # noqa: SLF001 - as SQLAlchemy's own engine does
        if key is None:
            raise TypeError(f"a statement that has no shape: {statement}")
        shape = self._shapes.get((key.key, columns))
        if shape is None:
            compiled = statement._compiler(_DIALECT, cache_key=key, column_keys=list(columns))  # noqa: SLF001
            shape = self._shapes[key.key, columns] = Shape(_compiler(compiled))
        return shape, key.bindparams


def _compiler(compiled: Compiled) -> SQLCompiler:
    """What was compiled; raises TypeError where its text would change with its values."""
    assert isinstance(compiled, SQLCompiler)
    if compiled.post_compile_params:
        raise TypeError(f"bind the values of an IN as one array: {compiled}")
    return compiled
