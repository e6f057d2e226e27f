"""Windows on ordered lists: a cursor is looked up in the index of its order, never counted up to."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    String,
    Uuid,
    bindparam,
    column,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy import DateTime as Timestamp
from sqlalchemy.types import TypeEngine

from app.auth import ADMIN, Caller
from app.paging import Key, Page, Window
from app.statements import Prepared
from app.tables import ALL_TIME

R = TypeVar("R")
# A column of a table is no ColumnElement to the type checker; both are meant.
Column = Any
Rows = Select[*tuple[Any, ...]]

NEVER: ColumnElement[Any] = literal_column("'infinity'::timestamp with time zone")


@dataclass(frozen=True)
class Order:
    """What a list is ordered by: a value that is never null and, unless that is unique, the id."""

    value: Column
    descending: bool
    id: Column = None

    def columns(self, window: Window[Any]) -> list[Column]:
        """What to order by so that the window's rows come first."""
        columns = [self.value] if self.id is None else [self.value, self.id]
        descending = self.descending is not window.backward
        return [column.desc() if descending else column.asc() for column in columns]

    def window(self, rows: Rows, window: Window[Any]) -> Rows:
        """The rows of a window, and one more, which tells that there is more."""
        return _cut(self._between(rows, window).order_by(*self.columns(window)), window)

    def candidates(self, rows: Rows, window: Window[Any]) -> Rows:
        """Those of some rows that are the window's if nothing else is in front of them."""
        return self._between(rows, window).order_by(*self.columns(window)).limit(window.reach)

    def candidates_of_each(self, rows: Rows, values: FromClause, wanted: Column, window: Window[Any]) -> Rows:
        """The candidates with each of several values, each read from its own place of an index."""
        each = self.candidates(rows.where(wanted == values.c.value), window).lateral()
        return select(*each.c).select_from(values.join(each, true()))

    def merged(self, parts: Sequence[Rows], window: Window[Any]) -> Rows:
        """The rows of a window out of parts that have its candidates between them, none of them twice."""
        rows = (union_all(*parts) if len(parts) > 1 else parts[0]).subquery()
        order = self._of(rows, rows.c[self.value.key])
        return _cut(select(*rows.c).order_by(*order.columns(window)), window)

    def window_of_each(self, rows: Rows, values: FromClause, wanted: Column, window: Window[Any]) -> Rows:
        """The rows of the same window of several lists, one list after the other."""
        listed = rows.where(wanted == values.c.value).add_columns(self.value.label("place"))
        each = self.window(listed, window).lateral()
        columns = [column for column in each.c if column is not each.c.place]
        found = select(*columns).select_from(values.join(each, true()))
        return found.order_by(values.c.value, *self._of(each, each.c.place).columns(window))

    def _of(self, table: FromClause, value: Column) -> Self:
        return replace(self, value=value, id=None if self.id is None else table.c[self.id.key])

    def _between(self, rows: Rows, window: Window[Any]) -> Rows:
        if window.after is not None:
            rows = rows.where(self._beyond(window.after, descending=self.descending))
        if window.before is not None:
            rows = rows.where(self._beyond(window.before, descending=not self.descending))
        return rows

    def _beyond(self, key: Key | int, *, descending: bool) -> ColumnElement[bool]:
        place: Column = self.value
        bound: Column = key
        if isinstance(key, Key):
            place = tuple_(self.value, self.id)
            bound = tuple_(NEVER if key.value is None else key.value, key.id)
        beyond: ColumnElement[bool] = place < bound if descending else place > bound
        return beyond


def _cut(rows: Rows, window: Window[Any]) -> Rows:
    return rows.offset(window.skipped or None).limit(window.size + 1)


def is_plain(window: Window[Key]) -> bool:
    """Whether `prepared` has a statement for the window."""
    place = window.after
    return not window.skipped and window.before is None and (place is None or place.value is not None)


def values_of(window: Window[Key]) -> Mapping[str, Any]:
    """What a statement that was `prepared` takes for the window."""
    size = {"size": window.size}
    return size if window.after is None else {**size, "value": window.after.value, "id": window.after.id}


def prepared(page: Callable[[Window[Key]], Rows], *, after: bool, backward: bool) -> Prepared:
    """A statement for all windows that differ in their size and in the place behind which they lie.

    It takes `size`, and with `after` the `value` and the `id` of that place.
    """
    value: Any = bindparam("value", type_=Timestamp(timezone=True))
    id: Any = bindparam("id", type_=Uuid())
    place = Key(value, id) if after else None
    size: Any = bindparam("size", type_=Integer)
    return Prepared(page(Window(size, after=place, backward=backward)))


def values(of: Collection[Any], type: TypeEngine[Any]) -> FromClause:
    """Some values as a table with the one column `value`."""
    return table(literal(list(of), ARRAY(type)), type)


def table(array: ColumnElement[Any], type: TypeEngine[Any]) -> FromClause:
    """The values of an array as a table with the one column `value`."""
    return func.unnest(array).table_valued(column("value", type)).render_derived()


def somebody(*, of_all_owners: bool) -> Caller:
    """Who executes a statement that is made once: its `owner` is bound by name."""
    owner: Any = bindparam("owner", type_=String())
    return Caller("", owner, frozenset({ADMIN} if of_all_owners else ()), ALL_TIME)


def pages(lists: Sequence[UUID], rows: Iterable[R], owner: str, window: Window[Any]) -> dict[UUID, Page[R]]:
    """The pages of several lists out of rows that have the id of their list in the attribute `owner`."""
    found: dict[UUID, list[R]] = {id: [] for id in lists}
    for row in rows:
        found[getattr(row, owner)].append(row)
    return {id: window.cut(items) for id, items in found.items()}
