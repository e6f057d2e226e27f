"""An event with its execution, and how both travel between processes: announced, as JSON."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Self
from uuid import UUID

import orjson

from app.records import EventRecord, ExecutionRecord
from app.tables import EventType, ExecutionStatus

REMEMBERED: Final = 8_192

# An announcement is a list: its format, then the values of an event's fields, then of its execution's.
# Whoever meets another format reads from Postgres what it is about.
FORMAT: Final = 2
_EVENT_FIELDS = EventRecord._fields
_EXECUTION_FIELDS = tuple(name for name in ExecutionRecord._fields if name != "payloads")
EVENT_PLACES: Final[Mapping[str, int]] = {name: place for place, name in enumerate(_EVENT_FIELDS, 1)}
_EVENT_END: Final = 1 + len(_EVENT_FIELDS)
EXECUTION_PLACES: Final[Mapping[str, int]] = {
    name: place for place, name in enumerate(_EXECUTION_FIELDS, _EVENT_END)
}
_LENGTH: Final = _EVENT_END + len(_EXECUTION_FIELDS)
_POSITION, _RECORDED_AT = EVENT_PLACES["position"], EVENT_PLACES["recorded_at"]


class Delivery:
    """An event with its execution as it was then or later: what a subscriber receives.

    Of one that was announced the records are made when they are asked for: for most nobody asks.
    """

    __slots__ = ("_event", "_execution", "announced", "position")

    def __init__(self, event: EventRecord, execution: ExecutionRecord) -> None:
        self.announced: list[Any] | None = None
        self.position = event.position
        self._event: EventRecord | None = event
        self._execution: ExecutionRecord | None = execution

    @classmethod
    def of(cls, announced: list[Any]) -> Self:
        """That of an announcement."""
        found = cls.__new__(cls)
        found.announced = announced
        found.position = announced[_POSITION]
        found._event = found._execution = None  # noqa: SLF001 - its own
        return found

    @property
    def event(self) -> EventRecord:
        if self._event is None:
            assert self.announced is not None
            self._event = EventRecord(*_read(self.announced[1:_EVENT_END], _EVENT))
        return self._event

    @property
    def execution(self) -> ExecutionRecord:
        if self._execution is None:
            assert self.announced is not None
            self._execution = ExecutionRecord(*_read(self.announced[_EVENT_END:], _EXECUTION))
        return self._execution

    @property
    def recorded_at(self) -> datetime:
        """The event's."""
        if self._event is None and self.announced is not None:
            return datetime.fromisoformat(self.announced[_RECORDED_AT])
        return self.event.recorded_at

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Delivery):
            return NotImplemented
        return (self.event, self.execution) == (other.event, other.execution)

    __hash__ = None  # type: ignore[assignment]  # as of whatever has dictionaries in it

    def __repr__(self) -> str:
        return f"Delivery({self.event}, {self.execution})"


def encode(delivery: Delivery) -> str:
    """The text of an announcement; `decode` turns it back."""
    # asyncpg has a UUID class of its own.
    return orjson.dumps([FORMAT, *delivery.event, *delivery.execution[:-1]], default=str).decode()


def decode(text: str) -> Delivery:
    """The delivery in a text that `encode` made; raises ValueError for any other, another version's too."""
    try:
        values = orjson.loads(text)
        is_ours = values[0] == FORMAT and len(values) == _LENGTH and isinstance(values[_POSITION], int)
        for place, members in _MEMBERS:
            values[place] = members[values[place]]
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError("not a delivery") from error
    if not is_ours:
        raise ValueError("not a delivery")
    return Delivery.of(values)


def _read(values: list[Any], readers: Mapping[int, Callable[[Any], Any]]) -> list[Any]:
    """The values of a record's fields."""
    for place, read in readers.items():
        values[place] = read(values[place])
    return values


def _readers(fields: Sequence[str], **read: Callable[[Any], Any]) -> Mapping[int, Callable[[Any], Any]]:
    return {fields.index(name): each for name, each in read.items()}


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _optional_id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


_TYPES = {each.value: each for each in EventType}
_STATUSES = {each.value: each for each in ExecutionStatus}
_MEMBERS = (
    (EVENT_PLACES["type"], _TYPES),
    (EVENT_PLACES["status"], _STATUSES),
    (EXECUTION_PLACES["status"], _STATUSES),
)

# An execution has many events, and most of what it is stays the same.
_id = lru_cache(REMEMBERED)(UUID)
_known_moment = lru_cache(REMEMBERED)(_moment)
_EVENT = _readers(_EVENT_FIELDS, execution_id=_id, timestamp=_moment, recorded_at=_moment)
_EXECUTION = _readers(
    _EXECUTION_FIELDS,
    id=_id,
    workflow_id=_id,
    rerun_of=_optional_id,
    created_at=_known_moment,
    started_at=_known_moment,
    completed_at=_known_moment,
    updated_at=_known_moment,
)
