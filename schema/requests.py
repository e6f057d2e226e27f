"""The JSON of requests: read exactly, and not nested deeper than anything may recurse."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson

# The levels around an argument's value, and some more: of what is little too deep its field says where.
ENVELOPE_LEVELS = 8

_LONG_NUMBER = re.compile(r"\d{20}")
_LONG_NUMBER_BYTES = re.compile(rb"\d{20}")


def decoded(text: str | bytes) -> Any:
    """The value of a JSON text, its numbers finite; raises json.JSONDecodeError for anything else."""
    value = orjson.loads(text)
    pattern = _LONG_NUMBER if isinstance(text, str) else _LONG_NUMBER_BYTES
    if pattern.search(text):  # type: ignore[arg-type]  # each pattern meets its own kind
        # orjson rounds integers of more than 64 bits, and nobody would notice.
        with suppress(RecursionError):
            return json.loads(text)
    return value


def too_deep(request: object, max_levels: int) -> str | None:
    """What is wrong with a request in which a value is nested deeper than that; None where none is."""
    level: list[Any] = [request]
    for _ in range(max_levels + ENVELOPE_LEVELS):
        level = [each for value in level for each in _containers(value)]
        if not level:
            return None
    return f"A value is nested deeper than {max_levels} levels."


def _containers(value: Any) -> Iterator[Any]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (each for each in children if isinstance(each, dict | list))
