"""The JSON of requests: read exactly, and not nested deeper than anything may recurse."""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import orjson

# The levels around an argument's value, and some more: of what is little too deep its field says where.
ENVELOPE_LEVELS = 8

_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 20


def decoded(text: str | bytes | bytearray) -> Any:
    """The value of a JSON text, its numbers finite; raises json.JSONDecodeError for anything else."""
    encoded = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    value = orjson.loads(encoded)
    if _LONG_NUMBER in encoded.translate(_AS_ZEROS):
        # orjson rounds integers of more than 64 bits, and nobody would notice.
        with suppress(RecursionError):
            return json.loads(encoded)
    return value


def too_deep(request: object, max_levels: int) -> str | None:
    """What is wrong with a request in which a value is nested deeper than that; None where none is."""
    level: list[Any] = [request]
    for _ in range(max_levels + ENVELOPE_LEVELS):
        level = [each for value in level for each in _children(value) if isinstance(each, dict | list)]
        if not level:
            return None
    return f"A value is nested deeper than {max_levels} levels."


def _children(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
