"""Deliveries travel through Redis as text: whatever Postgres can hold arrives as it was."""

from datetime import UTC, datetime
from typing import Any, TypeVar, get_type_hints
from uuid import UUID

import pytest
from asyncpg.pgproto import pgproto
from hypothesis import given, settings
from hypothesis import strategies as st

from app.records import Delivery, EventRecord, ExecutionRecord, Payloads, decode, encode
from app.tables import EventType, ExecutionStatus
from tests.unit.values import KEPT_JSON, KEPT_TEXT

T = TypeVar("T")

MOMENTS = st.datetimes(timezones=st.just(UTC))
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: KEPT_TEXT,
    str | None: st.none() | KEPT_TEXT,
    int: st.integers(0, 2**63 - 1),
    UUID: st.uuids(),
    UUID | None: st.none() | st.uuids(),
    dict[str, str]: st.dictionaries(KEPT_TEXT, KEPT_TEXT, max_size=3),
    datetime: MOMENTS,
    datetime | None: st.none() | MOMENTS,
    dict[str, Any] | None: st.none() | st.dictionaries(KEPT_TEXT, KEPT_JSON, max_size=3),
    Any: KEPT_JSON,
    EventType: st.sampled_from(EventType),
    ExecutionStatus: st.sampled_from(ExecutionStatus),
    # No delivery has them.
    Payloads | None: st.none(),
}


def records(kind: type[T]) -> st.SearchStrategy[T]:
    """Records with any content in every field, those to come included."""
    return st.builds(kind, **{name: VALUES[hint] for name, hint in get_type_hints(kind).items()})


DELIVERIES = st.builds(Delivery, records(EventRecord), records(ExecutionRecord))


@given(DELIVERIES)
@settings(max_examples=40)
def test_a_delivery_arrives_as_it_was(delivery: Delivery) -> None:
    assert decode(encode(delivery)) == delivery


@given(DELIVERIES)
@settings(max_examples=40)
def test_values_arrive_in_their_types(delivery: Delivery) -> None:
    found = decode(encode(delivery))

    for sent, received in ((delivery.event, found.event), (delivery.execution, found.execution)):
        kinds = {name: type(getattr(sent, name)) for name in get_type_hints(type(sent))}
        assert {name: type(getattr(received, name)) for name in kinds} == kinds


@given(DELIVERIES)
@settings(max_examples=40)
def test_a_delivery_is_never_taken_for_a_bare_position(delivery: Delivery) -> None:
    assert not encode(delivery).isdigit()


@given(DELIVERIES, st.uuids())
@settings(max_examples=40)
def test_asyncpgs_own_uuids_are_encoded(delivery: Delivery, id: UUID) -> None:
    execution = delivery.execution
    theirs = pgproto.UUID(id.bytes)

    sent = encode(Delivery(delivery.event, replaced(execution, id=theirs, workflow_id=theirs)))

    assert decode(sent).execution == replaced(execution, id=id, workflow_id=id)


def replaced(execution: ExecutionRecord, **changes: Any) -> ExecutionRecord:
    return execution._replace(**changes)


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", '{"event": {}, "execution": {}}', '"text"', "null", "1.5"]
)
def test_a_text_of_another_make_is_refused_with_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a delivery"):
        decode(text)
