"""Deliveries travel through Redis as text: whatever Postgres can hold arrives as it was."""

import copy
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar, get_type_hints
from uuid import UUID

import orjson
import pytest
from asyncpg.pgproto import pgproto
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.deliveries import EVENT_PLACES, EXECUTION_PLACES, Delivery, decode, encode
from app.records import EventRecord, ExecutionRecord, Payloads
from app.tables import EventType, ExecutionStatus
from schema.scalars import announced_datetime, serialize_datetime
from tests.unit.values import KEPT_JSON, KEPT_TEXT

T = TypeVar("T")

# The places of what is known of any announcement: its format, its position, and the members of closed sets.
TOLD_APART = (0, *(EVENT_PLACES[name] for name in ("position", "type", "status")), EXECUTION_PLACES["status"])
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


@given(DELIVERIES, st.sampled_from(TOLD_APART), st.sampled_from(["another", 0.5, None, []]))
@settings(max_examples=40)
def test_one_of_another_version_is_refused(delivery: Delivery, place: int, value: Any) -> None:
    values = orjson.loads(encode(delivery))

    for others in ([*values[:place], value, *values[place + 1 :]], values[:-1], [*values, None]):
        with pytest.raises(ValueError, match="not a delivery"):
            decode(orjson.dumps(others).decode())


@given(DELIVERIES)
@settings(max_examples=40)
def test_an_announcement_is_read_without_being_changed(delivery: Delivery) -> None:
    found = decode(encode(delivery))
    before = copy.deepcopy(found.announced)

    assert (found.position, found.recorded_at) == (delivery.position, delivery.event.recorded_at)
    assert (found.event, found.execution) == (delivery.event, delivery.execution)
    assert (found.recorded_at, found.announced) == (delivery.recorded_at, before)


@given(MOMENTS | st.datetimes(timezones=st.just(timezone(timedelta(hours=5, minutes=30)))))
@example(datetime(2026, 1, 8, tzinfo=UTC))
def test_an_announced_instant_is_written_as_any_other(moment: datetime) -> None:
    announced = orjson.loads(orjson.dumps(moment))

    assert announced_datetime(announced) == serialize_datetime(moment)


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", "[[], []]", '{"event": {}, "execution": {}}', '"text"', "null", "1.5"]
)
def test_a_text_of_another_make_is_refused_with_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a delivery"):
        decode(text)
