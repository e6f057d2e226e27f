"""Fields that are read from the record behind their object."""

from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField
from strawberry.types.info import Info

# Under this, a field's metadata say what of the record its resolver only hands on, where that is there.
READ: Final = "read"
# Under this, what of the record's row is the field's value as it is in JSON, where that is not the same.
COLUMN: Final = "column"
SAME_NAME: Final = "*"
# Under this, what else of the row's object it is that can be rendered within it.
PART: Final = "part"
# Under this, the function of an announcement that gives the field's value, where none of its values is it.
ANNOUNCED: Final = "announced"


class RecordField(StrawberryField):
    """A field whose value its object's `record` has under the same name: nothing is copied for it."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.init = self.repr = self.compare = False

    def get_result(self, source: Any, info: Info | None, args: list[Any], kwargs: Any) -> Any:
        return getattr(source.record, self.python_name)


def recorded(description: str) -> Any:
    """A field that is read from the record."""
    return RecordField(description=description)


def rendered(description: str) -> Any:
    """A field of what is made of a part of a record, which Postgres has under the same name."""
    return strawberry.field(description=description, metadata={COLUMN: SAME_NAME})


def place(field: StrawberryField) -> str | None:
    """Where in its object's record a field's value is: None where it is not there."""
    found: str | None = field.python_name if isinstance(field, RecordField) else field.metadata.get(READ)
    return found


def column(field: StrawberryField) -> str | None:
    """What of its object's row a field's value is: None where there is more to it."""
    found: str | None = field.metadata.get(COLUMN) or place(field)
    return field.python_name if found is SAME_NAME else found
