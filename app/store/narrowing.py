"""Filters in SQL: the same rows that `app.filters` matches in memory."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Text, cast, exists, func, literal_column, or_
from sqlalchemy import DateTime as Timestamp
from sqlmodel import col

from app.auth import Caller
from app.filters import ExecutionEventFilter, ExecutionFilter, Period
from app.store import workflows
from app.store.keyset import NEVER
from app.store.membership import one_of
from app.store.patterns import containing
from app.tables import LAST_COMPLETED, SEARCHED, EventType, Execution, ExecutionEvent

ENDED: ColumnElement[Any] = literal_column(LAST_COMPLETED, Timestamp(timezone=True))

# What parts the texts of an execution in the index.
_MARKS = frozenset('{}":, \\')
# The most by which Temporal's clock, which ends an execution, can be behind ours, which creates it.
CLOCKS_DIFFER_BY = timedelta(hours=1)
_LATEST = datetime.max.replace(tzinfo=UTC) - CLOCKS_DIFFER_BY


def of_executions(caller: Caller, chosen: ExecutionFilter) -> Iterator[ColumnElement[bool]]:
    """What holds for the executions of a filter."""
    if chosen.workflow_ids is not None:
        yield one_of(col(Execution.workflow_id), chosen.workflow_ids)
    if chosen.statuses is not None:
        yield one_of(col(Execution.status), chosen.statuses)
    yield from _within(col(Execution.created_at), chosen.created)
    yield from _ended(chosen.completed)
    yield from _labelled(chosen.labels)
    if chosen.search is not None:
        yield or_(
            has_text(chosen.search), col(Execution.workflow_id).in_(workflows.named(caller, chosen.search))
        )


def of_events(chosen: ExecutionEventFilter) -> Iterator[ColumnElement[bool]]:
    """What holds for the events of a filter, each joined with its execution."""
    if chosen.workflow_ids is not None:
        yield one_of(col(Execution.workflow_id), chosen.workflow_ids)
    if chosen.statuses is not None:
        yield one_of(col(ExecutionEvent.status), chosen.statuses)
    yield from of_types(chosen.types)
    yield from _labelled(chosen.labels)


def of_types(types: frozenset[EventType] | None) -> Iterator[ColumnElement[bool]]:
    """What holds for events of some types."""
    if types is not None:
        yield one_of(col(ExecutionEvent.type), types)


def has_text(search: str) -> ColumnElement[bool]:
    """Whether the text is in an execution's workflow id on Temporal or in a label.

    The index finds it in the labels' JSON, whose marks and escapes are nobody's text: where they could have
    been found, the labels are looked at one by one.
    """
    indexed = literal_column(SEARCHED, Text).ilike(containing(orjson.dumps(search).decode()[1:-1]))
    if _MARKS.isdisjoint(search):
        escaped = func.strpos(cast(col(Execution.labels), Text), "\\") > 0
        return indexed & or_(~escaped, _is_there(search))
    return indexed & _is_there(search)


def _is_there(search: str) -> ColumnElement[bool]:
    wanted = containing(search)
    label = func.jsonb_each_text(col(Execution.labels)).table_valued("key", "value")
    labelled = exists().select_from(label).where(or_(label.c.key.ilike(wanted), label.c.value.ilike(wanted)))
    return or_(col(Execution.temporal_workflow_id).ilike(wanted), labelled)


def _within(moment: Any, period: Period) -> Iterator[ColumnElement[bool]]:
    if period.start is not None:
        yield moment >= period.start
    if period.end is not None:
        yield moment < period.end


def _ended(period: Period) -> Iterator[ColumnElement[bool]]:
    yield from _within(ENDED, period)
    if period.end is not None:
        # It was created before: in the order of creation, what is younger need not be read.
        yield col(Execution.created_at) < min(period.end, _LATEST) + CLOCKS_DIFFER_BY
    elif period.start is not None:
        yield ENDED < NEVER


def _labelled(labels: Iterable[tuple[str, str]]) -> Iterator[ColumnElement[bool]]:
    yield from (col(Execution.labels).contains({key: value}) for key, value in sorted(labels))
