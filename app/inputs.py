"""Checks on what callers send, before anything is written: all that is stored must be readable later."""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from app.errors import InvalidInput, Issue

MAX_JSON_DEPTH = 64
MAX_INTEGER = 2**63 - 1
MAX_NAME_CHARACTERS = 255
MAX_TEXT_CHARACTERS = 10_000
MAX_REASON_CHARACTERS = 1_000
MAX_LABELS = 32
MAX_LABEL_CHARACTERS = 255
MAX_START_DELAY_SECONDS = 365 * 24 * 3600

_LABEL_KEY = re.compile(r"[A-Za-z0-9._/-]{1,63}")

Label = tuple[str, str]


def check(*checks: Iterator[Issue]) -> None:
    """Raise InvalidInput with every issue that the checks found."""
    issues = [issue for found in checks for issue in found]
    if issues:
        raise InvalidInput(issues)


def given(path: str, values: Mapping[str, Any], key: str) -> Iterator[Issue]:
    """The issue of a value that may be left out but must not be null."""
    if key in values and values[key] is None:
        yield Issue(path, "must not be null: leave it out to keep it")


def text(path: str, value: str | None, *, limit: int = MAX_TEXT_CHARACTERS) -> Iterator[Issue]:
    """Issues of an optional text: its length, and characters that Postgres or UTF-8 refuse."""
    if value is None:
        return
    if len(value) > limit:
        yield Issue(path, f"must have {limit} characters at most, not {len(value)}")
    yield from _characters(path, value)


def storable(value: str | None, limit: int) -> str | None:
    """A remark without what Postgres or UTF-8 refuses, cut at the limit: it is kept, never refused."""
    if value is None:
        return None
    return value.replace("\x00", "").encode("utf-8", "replace").decode()[:limit]


def name(path: str, value: str | None) -> Iterator[Issue]:
    """Issues of an optional name: 1 to 255 printable characters, not only blanks."""
    if value is None:
        return
    if not value.strip():
        yield Issue(path, "must not be empty")
    elif not value.isprintable():
        yield Issue(path, "must be printable characters on one line")
    else:
        yield from text(path, value, limit=MAX_NAME_CHARACTERS)


def few(path: str, values: Collection[Any] | None, limit: int) -> Iterator[Issue]:
    """Issues of an optional list: how many different values it has."""
    if values is not None and len(values) > limit:
        yield Issue(path, f"must have {limit} values at most, not {len(values)}")


def positive(path: str, value: int | None) -> Iterator[Issue]:
    """Issues of an optional count: it must be above zero."""
    if value is not None and value <= 0:
        yield Issue(path, f"must be above 0, not {value}")


def remark(path: str, value: str | None) -> Iterator[Issue]:
    """Issues of an optional remark: 1 to 1,000 characters, not only blanks."""
    if value is not None and not value.strip():
        yield Issue(path, "must not be empty")
    else:
        yield from text(path, value, limit=MAX_REASON_CHARACTERS)


def start_delay(path: str, value: int | None) -> Iterator[Issue]:
    """Issues of an optional delay: from nothing to a year, in seconds."""
    if value is not None and not 0 <= value <= MAX_START_DELAY_SECONDS:
        yield Issue(path, f"must be between 0 and {MAX_START_DELAY_SECONDS} seconds (365 days), not {value}")


def labels(path: str, given: Sequence[Label] | None) -> Iterator[Issue]:
    """Issues of optional labels: how many they are, each key and value, keys given twice."""
    if given is None:
        return
    if len(given) > MAX_LABELS:
        yield Issue(path, f"must have {MAX_LABELS} labels at most, not {len(given)}")
        return
    keys = [key for key, _ in given]
    for place, (key, value) in enumerate(given):
        if not _LABEL_KEY.fullmatch(key):
            yield Issue(f"{path}/{place}/key", "must be 1 to 63 letters (A-Z, a-z), digits or any of . _ - /")
        elif key in keys[:place]:
            yield Issue(f"{path}/{place}/key", f"must not be given twice: {key!r}")
        yield from text(f"{path}/{place}/value", value, limit=MAX_LABEL_CHARACTERS)


def json(path: str, value: Any) -> Iterator[Issue]:
    """Issues of a JSON value, each with its JSON Pointer: depth, numbers and characters."""
    waiting = [(path, value, 0)]
    while waiting:
        place, item, depth = waiting.pop()
        if depth > MAX_JSON_DEPTH:
            yield Issue(place[:200], f"is nested deeper than {MAX_JSON_DEPTH} levels")
            return
        yield from _scalar(place, item)
        for key, child in _children(item):
            yield from _characters(place, key)
            waiting.append((f"{place}/{_escape(key)}", child, depth + 1))


def _children(item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, dict):
        yield from item.items()
    elif isinstance(item, list):
        yield from ((str(index), child) for index, child in enumerate(item))


def _scalar(path: str, item: Any) -> Iterator[Issue]:
    if isinstance(item, str):
        yield from _characters(path, item)
    elif isinstance(item, float) and not math.isfinite(item):
        yield Issue(path, "must be a finite number")
    elif isinstance(item, int) and abs(item) > MAX_INTEGER:
        yield Issue(path, "must be an integer of 64 bits at most")


def _characters(path: str, value: str) -> Iterator[Issue]:
    if "\x00" in value:
        yield Issue(path, "must not contain the NUL character")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        yield Issue(path, "must not contain lone surrogates")


def _escape(key: str) -> str:
    """One reference token of a JSON Pointer (RFC 6901, section 3), readable in UTF-8."""
    plain = key.encode("utf-8", "replace").decode()
    return plain[:100].replace("~", "~0").replace("/", "~1")
