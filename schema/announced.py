"""What is selected of an event, read from its announcement by one generated function: no record is made.

Where more is selected than an announcement has as a client is given it, there is no such function.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from graphql import GraphQLObjectType, GraphQLScalarType
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList

from app.deliveries import EVENT_PLACES, EXECUTION_PLACES
from app.records import EventRecord, ExecutionRecord
from schema import recorded
from schema.plans import Call, Read, Writer, depends_on_document_only
from schema.reading import DEFINITION
from schema.recurring import Recurring
from schema.scalars import announced_datetime

PLACES: Mapping[type, Mapping[str, int]] = {EventRecord: EVENT_PLACES, ExecutionRecord: EXECUTION_PLACES}


class Announced(Recurring[Read]):
    """The functions of an announcement's values for what is selected of its event or execution."""

    def __init__(self) -> None:
        super().__init__(_reader)


def _reader(executor: Executor[Any], kind: GraphQLObjectType, details: FieldDetailsList) -> Read | None:
    writer = _Writer(executor)
    text = writer.object("s", kind, details)
    return None if text is None else writer.returning(text)


@dataclass
class _Writer(Writer):
    """Writes of `s`, the values of an announcement."""

    def object(self, value: str, kind: GraphQLObjectType, chosen: FieldDetailsList) -> str | None:
        if not depends_on_document_only(self.executor, chosen):
            return None
        items = list[str]()
        for key, each in self.executor.collect_subfields(kind, chosen).grouped_field_set.items():
            text = self.field(kind, each)
            if text is None:
                return None
            items.append(f"{key!r}: {text}")
        return f"{{{', '.join(items)}}}"

    def source(self, call: Call) -> str | None:
        if read := call.field.metadata.get(recorded.ANNOUNCED):
            return f"{self.name(read)}(s)"
        place = _places(call.parent_type).get(recorded.column(call.field) or "")
        return None if place is None else f"s[{place}]"

    def scalar(self, value: str, kind: GraphQLScalarType) -> str:
        if kind.name == "DateTime":
            return f"{self.name(announced_datetime)}({value})"
        return super().scalar(value, kind)


def _places(kind: GraphQLObjectType) -> Mapping[str, int]:
    """Where the fields of what is behind an object are in an announcement; none of what is not in it."""
    record = get_type_hints(kind.extensions[DEFINITION].origin).get("record")
    return PLACES.get(record, {}) if isinstance(record, type) else {}
