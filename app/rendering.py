"""Objects as the JSON that Postgres makes of their rows: what a client gets unchanged is not taken apart."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson


@dataclass(frozen=True)
class Fieldset:
    """What is selected of an object: under which key which attribute, in order; `__typename` is one."""

    typename: str
    fields: tuple[tuple[str, str], ...]


class Rendered(NamedTuple):
    """The JSON of what is selected of an object, and what it is known by: a key, and its place in a list.

    It stands where the object would, as its own answer.
    """

    json: orjson.Fragment
    key: Any
    place: Any
