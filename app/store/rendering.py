"""Rows as JSON: what is selected of them, with their parts in other tables, in one text each."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    Table,
    Text,
    case,
    cast,
    collate,
    extract,
    func,
    literal_column,
    select,
)
from sqlalchemy import DateTime as Timestamp
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.rendering import Fieldset, Part, Rendered
from app.tables import Execution, ExecutionEvent, Workflow

Parts = Mapping[str, Callable[[Part], ColumnElement[Any]]]

# Clients choose them. Of each kind of statement so many are kept, of some 60 KiB each.
FIELDSETS: Final = 200
# For objects that have none.
NO_PLACE: Final = literal_column("NULL", Text)
# As `DateTime` is written everywhere: in UTC, with milliseconds.
_UTC = literal_column("'UTC'", Text)
_FORMAT = literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'""", Text)
_NOTHING: ColumnElement[Any] = literal_column("'[]'::json")
# Like no key: in front of a table's name Postgres would take a column's.
_ROW = "the row"


@dataclass(frozen=True)
class Renderable:
    """A table whose rows can be rendered: its columns by the names of attributes, and others, and parts."""

    table: FromClause
    others: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)

    def text(self, fieldset: Fieldset) -> ColumnElement[str]:
        """The text of a row's JSON, the column `json` of a statement."""
        return cast(self.object(fieldset), Text).label("json")

    def object(self, fieldset: Fieldset) -> ColumnElement[Any]:
        """A row's JSON."""
        fields = [self._value(each, fieldset.typename).label(key) for key, each in fieldset.fields]
        row = select(*fields).correlate(self.table).subquery(_ROW)
        return select(func.row_to_json(literal_column(f'"{_ROW}"'))).select_from(row).scalar_subquery()

    def _value(self, wanted: str | Part, typename: str) -> ColumnElement[Any]:
        if isinstance(wanted, Part):
            return self.parts[wanted.name](wanted)
        if wanted == "__typename":
            return literal_column(f"'{typename}'", Text)
        column = self.others[wanted] if wanted in self.others else self.table.c[wanted]
        if isinstance(column.type, Timestamp):
            return func.to_char(func.timezone(_UTC, column), _FORMAT)
        return column


def rendered(row: Iterable[Any]) -> Rendered:
    """The object of a row that has its JSON, its key and its place."""
    json, key, place = row
    return Rendered(orjson.Fragment(json), key, place)


def _table(model: Any) -> Table:
    found: Table = model.__table__
    return found


_EXECUTION, _EVENT, _WORKFLOW = _table(Execution), _table(ExecutionEvent), _table(Workflow)


def _workflow(part: Part) -> ColumnElement[Any]:
    """An execution's workflow, which is of the same owner."""
    found = select(WORKFLOW.object(part.fieldset)).where(_WORKFLOW.c.id == _EXECUTION.c.workflow_id)
    return found.correlate(_EXECUTION).scalar_subquery()


def _history(part: Part) -> ColumnElement[Any]:
    """The first events of an execution, oldest first."""

    def nodes(events: Part) -> ColumnElement[Any]:
        place = _EVENT.c.position
        first = (
            select(EVENT.object(events.fieldset).label("json"), place)
            .where(_EVENT.c.execution_id == _EXECUTION.c.id)
            .order_by(place)
            .limit(literal_column(str(part.first)))
            .correlate(_EXECUTION)
            .subquery()
        )
        return select(_array(first.c.json, first.c.position)).select_from(first).scalar_subquery()

    return Renderable(_EXECUTION, parts={"nodes": nodes}).object(part.fieldset)


def _labels(part: Part) -> ColumnElement[Any]:
    """An execution's labels, sorted as Python sorts."""
    labels = func.jsonb_each_text(_EXECUTION.c.labels).table_valued("key", "value").render_derived()
    listed = _array(Renderable(labels).object(part.fieldset), collate(labels.c.key, "C"))
    return select(listed).select_from(labels).correlate(_EXECUTION).scalar_subquery()


def _array(objects: ColumnElement[Any], order: ColumnElement[Any]) -> ColumnElement[Any]:
    """The JSON of several objects in an order."""
    found = func.array_to_json(func.array_agg(aggregate_order_by(objects, order)))
    return func.coalesce(found, _NOTHING)


def _failure(part: Part) -> ColumnElement[Any]:
    """Why an execution failed, which is kept as JSON."""
    names = ("reason", "message", "type", "activity_type", "stack_trace")
    said = {name: _EXECUTION.c.failure.op("->>")(literal_column(f"'{name}'")) for name in names}
    failure = Renderable(_EXECUTION, said).object(part.fieldset)
    return case((_EXECUTION.c.failure.is_not(None), failure), else_=None)


def _duration() -> ColumnElement[Any]:
    """The seconds from an execution's start to its end, or to now."""
    until = func.coalesce(_EXECUTION.c.completed_at, func.now())
    seconds = cast(extract("epoch", until - _EXECUTION.c.started_at), Double)
    return case((seconds < 0, literal_column("0")), else_=seconds)


WORKFLOW: Final = Renderable(_WORKFLOW)
EVENT: Final = Renderable(
    _EVENT,
    {"id": cast(_EVENT.c.execution_id, Text) + literal_column("':'", Text) + cast(_EVENT.c.version, Text)},
)
EXECUTION: Final = Renderable(
    _EXECUTION,
    {
        "payloads.input": _EXECUTION.c.input,
        "payloads.output": _EXECUTION.c.output,
        "duration": _duration(),
    },
    {"workflow": _workflow, "history": _history, "labels": _labels, "failure": _failure},
)
