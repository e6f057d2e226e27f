"""What is told of an announcement is what graphql-core makes of its records, whatever is selected."""

from functools import cache
from typing import Any, cast

import pytest
from graphql import ExecutionResult
from hypothesis import given, settings
from hypothesis import strategies as st

from app.deliveries import Delivery, decode, encode
from schema import Limits, Schema, build
from schema.executor import OperationExecutor
from tests.twice import PAYLOADS, CheckedAnnounced
from tests.unit.test_deliveries import DELIVERIES

EVENT = (
    "id",
    "cursor",
    "type",
    "status",
    "version",
    "message",
    "timestamp",
    "actor",
    "details",
    "__typename",
)
EXECUTION = (
    *("id", "status", "version", "startedBy", "temporalWorkflowId", "temporalRunId", "__typename"),
    *("createdAt", "startedAt", "completedAt", "updatedAt"),
)
MORE_THAN_ANNOUNCED = ("duration", "labels { key }", "failure { message }", "allowedActions", "input")


@cache
def schema() -> Schema:
    return build(Limits())


def selections(names: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Some fields, in any order, some of them under other names or within a fragment."""
    shapes = st.sampled_from(["{}", "other_{0}: {0}", "... {{ {} }}"])
    fields = st.tuples(shapes, st.sampled_from(names)).map(lambda each: each[0].format(each[1]))
    return st.lists(fields, min_size=1, max_size=6).map(" ".join)


DOCUMENTS = st.one_of(
    selections(EVENT).map("subscription {{ executionFeed {{ {} }} }}".format),
    st.builds(
        "subscription {{ executionFeed {{ {} execution {{ {} }} }} }}".format,
        selections(EVENT),
        selections(EXECUTION),
    ),
    selections(EXECUTION).map("subscription {{ executionUpdated {{ {} }} }}".format),
)


def executor(text: str) -> OperationExecutor:
    """That of a subscription which has been met before."""
    known = schema()._reader.read(text).operation(None)
    assert known is not None
    found = OperationExecutor.begun(schema()._schema, known, cast("Any", None), {})
    assert isinstance(found, OperationExecutor)
    found._of_events(OperationExecutor.announcements)
    return found


@given(DELIVERIES, DOCUMENTS)
@settings(max_examples=150)
def test_an_announcement_tells_what_graphql_core_makes_of_its_records(delivery: Delivery, text: str) -> None:
    asked, announced = executor(text), decode(encode(delivery)).announced
    assert announced is not None
    payload = PAYLOADS["ExecutionEvent" if "executionFeed" in text else "Execution"](delivery)

    expected = asked.build_per_event_executor(payload).execute_operation(serially=False)

    assert isinstance(expected, ExecutionResult)
    told = asked.announced(announced)
    assert (told is None) == bool(expected.errors)
    assert told is None or (told.data, str(told.data)) == (expected.data, str(expected.data))


@pytest.mark.parametrize("more", MORE_THAN_ANNOUNCED)
def test_where_more_is_selected_than_was_announced_the_records_are_read(
    checked_announced: CheckedAnnounced, more: str
) -> None:
    asked = executor(f"subscription {{ executionFeed {{ id execution {{ id {more} }} }} }}")

    assert asked._of_events(checked_announced) is None


def test_where_a_variable_decides_what_is_selected_the_records_are_read(
    checked_announced: CheckedAnnounced,
) -> None:
    asked = executor("subscription ($all: Boolean = true) { executionFeed { id type @include(if: $all) } }")

    assert asked._of_events(checked_announced) is None
