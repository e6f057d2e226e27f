"""Pages and the opaque cursors between them."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

from app.errors import InvalidInput, Issue

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 100

# What a bigint holds for sure.
POSITION_DIGITS = 18

_FEED = "f1"
_NEWEST = "n1"


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list, in the list's order."""

    items: Sequence[T]
    has_next: bool
    has_previous: bool


@dataclass(frozen=True)
class NewestKey:
    """Where a row stands in a list by (created_at, id), newest first."""

    created_at: datetime
    id: UUID


def page_size(first: int | None) -> int:
    """The page size asked for, 10 where none is; raises InvalidInput outside 1..100."""
    if first is None:
        return DEFAULT_PAGE_SIZE
    if not 1 <= first <= MAX_PAGE_SIZE:
        raise InvalidInput([Issue("/first", f"must be between 1 and {MAX_PAGE_SIZE}, not {first}")])
    return first


def cut(rows: Sequence[T], size: int, *, has_previous: bool) -> Page[T]:
    """The page out of `size + 1` rows read: the extra row only tells that there is more."""
    return Page(rows[:size], has_next=len(rows) > size, has_previous=has_previous)


def feed_cursor(position: int) -> str:
    """The opaque cursor of a feed position."""
    return _encode(_FEED, str(position))


def feed_position(cursor: str) -> int:
    """The feed position in a cursor; raises InvalidInput where it is not a feed cursor."""
    (text,) = _decode(cursor, _FEED, 1)
    if not (text.isascii() and text.isdigit() and len(text) <= POSITION_DIGITS):
        raise _not_a_cursor()
    return int(text)


def newest_cursor(key: NewestKey) -> str:
    """The opaque cursor of a row in a newest-first list."""
    return _encode(_NEWEST, str(_microseconds(key.created_at)), key.id.hex)


def newest_key(cursor: str) -> NewestKey:
    """The row key in a cursor; raises InvalidInput where it is not one of this list."""
    microseconds, hexadecimal = _decode(cursor, _NEWEST, 2)
    try:
        seconds, rest = divmod(int(microseconds), 1_000_000)
        return NewestKey(datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest), UUID(hexadecimal))
    except (ValueError, OverflowError, OSError) as error:
        raise _not_a_cursor() from error


def _microseconds(moment: datetime) -> int:
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _encode(kind: str, *parts: str) -> str:
    return base64.urlsafe_b64encode(":".join((kind, *parts)).encode()).decode().rstrip("=")


def _decode(cursor: str, kind: str, count: int) -> list[str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode(
            "ascii"
        )
    except (binascii.Error, ValueError) as error:
        raise _not_a_cursor() from error
    found, *parts = text.split(":")
    if found != kind or len(parts) != count:
        raise _not_a_cursor()
    return parts


def _not_a_cursor() -> InvalidInput:
    return InvalidInput([Issue("/after", "is not a cursor of this list; pass one that it returned")])
