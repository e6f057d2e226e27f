"""Fieldsets in SQL."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, FromClause, Text, cast, func, literal_column, select
from sqlalchemy import DateTime as Timestamp

from app.rendering import Fieldset, Rendered

# As `DateTime` is written everywhere: in UTC, with milliseconds.
_UTC = literal_column("'UTC'", Text)
_FORMAT = literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'""", Text)
# For objects that have none.
NO_PLACE: Final = literal_column("NULL", Text)
# Like no key: in front of a table's name Postgres would take a column's.
_ROW = "the row"


def json_of(table: FromClause, columns: Mapping[str, Any], fieldset: Fieldset) -> ColumnElement[str]:
    """The text of a row's JSON; `columns` are those of its table by the names of attributes."""
    fields = [_value(columns, name, fieldset.typename).label(key) for key, name in fieldset.fields]
    row = select(*fields).correlate(table).subquery(_ROW)
    json = func.row_to_json(literal_column(f'"{_ROW}"'))
    return select(cast(json, Text)).select_from(row).scalar_subquery().label("json")


def rendered(row: Iterable[Any]) -> Rendered:
    """The object of a row that has its JSON, its key and its place."""
    json, key, place = row
    return Rendered(orjson.Fragment(json), key, place)


def _value(columns: Mapping[str, Any], name: str, typename: str) -> ColumnElement[Any]:
    if name == "__typename":
        return literal_column(f"'{typename}'", Text)
    column: ColumnElement[Any] = columns[name]
    if isinstance(column.type, Timestamp):
        return func.to_char(func.timezone(_UTC, column), _FORMAT)
    return column
