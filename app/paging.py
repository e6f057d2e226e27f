"""Pages, the windows on a list that callers ask for, and the opaque cursors between them."""

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import NoneType
from typing import Generic, TypeVar
from uuid import UUID

from app.errors import InvalidInput, Issue

K = TypeVar("K")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DEFAULT_PAGE_SIZE = 10
MAX_PAGE_SIZE = 100
# Postgres reads what `page` skips.
MAX_NUMBERED_ITEMS = 10_000

# What a bigint holds for sure.
POSITION_DIGITS = 18
MAX_CURSOR_CHARACTERS = 4_096

_FEED = "f1"
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_LISTED = "l1"
_UNSET, _MOMENT, _TEXT = "-", "m", "t"


@dataclass(frozen=True)
class Page(Generic[T_co]):
    """One page of a list, in the list's order."""

    items: Sequence[T_co]
    has_next: bool
    has_previous: bool


@dataclass(frozen=True)
class Key:
    """Where a row stands in an ordered list: by the value it is ordered by, then by id.

    None is a time that has not come yet: it stands after all that have.
    """

    value: datetime | str | None
    id: UUID


@dataclass(frozen=True)
class Paging:
    """Which part of a list a caller asks for, as they say it: Relay's arguments, or the number of a page."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None
    page: int | None = None

    @property
    def size(self) -> int:
        """How many items a page has at most."""
        return self.first or self.last or DEFAULT_PAGE_SIZE


@dataclass(frozen=True)
class Window(Generic[K]):
    """Which part of a list is meant: `size` rows from one end of what lies between two places."""

    size: int = DEFAULT_PAGE_SIZE
    after: K | None = None
    before: K | None = None
    backward: bool = False
    skipped: int = 0

    @property
    def reach(self) -> int:
        """How many rows tell what the window holds and whether there is more."""
        return self.skipped + self.size + 1

    def cut(self, rows: Sequence[T]) -> Page[T]:
        """The page out of `size + 1` rows read in the window's direction: the extra one tells of more."""
        more, items = len(rows) > self.size, rows[: self.size]
        if self.backward:
            return Page(items[::-1], self.before is not None, more or self.after is not None)
        begun = self.after is not None or self.skipped > 0
        return Page(items, more or self.before is not None, begun)


@dataclass(frozen=True)
class Binding:
    """What a list's cursors belong to: which list, in which order, and a digest of what it is narrowed to.

    `kinds` are the types of the values that the order goes by.
    """

    name: str
    order: str
    narrowing: str
    kinds: tuple[type, ...] = (datetime, NoneType)

    def cursor(self, key: Key) -> str:
        """The opaque cursor of a row."""
        return _seal(_LISTED, self.name, self.order, self.narrowing, _written(key.value), key.id.hex)

    def key(self, cursor: str, path: str) -> Key:
        """Where the row of a cursor stands; raises InvalidInput where it is not a cursor of this list."""
        name, order, narrowing, value, id = _open(cursor, path, _LISTED, 5)
        if name != self.name:
            raise _not_a_cursor(path)
        if order != self.order:
            raise _another(path, f"order, {order[:40]}: this list is in the order {self.order}")
        if narrowing != self.narrowing:
            raise _another(path, "filter: this list is narrowed in another way")
        try:
            key = Key(_read(value), UUID(hex=id))
        except (ValueError, OverflowError) as error:
            raise _not_a_cursor(path) from error
        if not isinstance(key.value, self.kinds):
            raise _not_a_cursor(path)
        return key


def window(asked: Paging, place: Callable[[str, str], K]) -> Window[K]:
    """The window that is asked for; `place` reads a cursor, given with its path.

    Forward from the list's beginning unless it is asked for from behind. Raises InvalidInput for sizes
    out of bounds, for pages too deep and for arguments that contradict each other.
    """
    issues = [*_sizes(asked), *_contradictions(asked)]
    if issues:
        raise InvalidInput(issues)
    backward = asked.last is not None or (bool(asked.before) and asked.first is None and not asked.after)
    return Window(
        asked.size,
        after=place(asked.after, "/after") if asked.after else None,
        before=place(asked.before, "/before") if asked.before else None,
        backward=backward,
        skipped=_skipped(asked.page, asked.size),
    )


def feed_cursor(position: int) -> str:
    """The opaque cursor of a feed position."""
    return _seal(_FEED, str(position))


def feed_position(cursor: str, path: str = "/after") -> int:
    """The feed position in a cursor; raises InvalidInput where it is not a feed cursor."""
    (text,) = _open(cursor, path, _FEED, 1)
    if not (text.isascii() and text.isdigit() and len(text) <= POSITION_DIGITS):
        raise _not_a_cursor(path)
    return int(text)


def _sizes(asked: Paging) -> Iterator[Issue]:
    for name, size in (("first", asked.first), ("last", asked.last)):
        if size is not None and not 1 <= size <= MAX_PAGE_SIZE:
            yield Issue(f"/{name}", f"must be between 1 and {MAX_PAGE_SIZE}, not {size}")
    if asked.page is not None and asked.page < 1:
        yield Issue("/page", f"counts from 1: it must not be {asked.page}")


def _contradictions(asked: Paging) -> Iterator[Issue]:
    if asked.first is not None and asked.last is not None:
        yield Issue("/last", "must not be given together with `first`: they read from opposite ends")
    if asked.page is None:
        return
    for name in ("after", "last", "before"):
        if getattr(asked, name):
            yield Issue(f"/{name}", "must not be given with `page`: use `first`, or leave out `page`")


def _skipped(page: int | None, size: int) -> int:
    skipped = ((page or 1) - 1) * size
    if skipped + size > MAX_NUMBERED_ITEMS:
        reason = (
            f"must lie within the first {MAX_NUMBERED_ITEMS:,} items, which page {page} of {size} does not: "
            "go on with `after` and a cursor, or narrow the filter"
        )
        raise InvalidInput([Issue("/page", reason)])
    return skipped


def _written(value: datetime | str | None) -> str:
    match value:
        case None:
            return _UNSET
        case datetime():
            return f"{_MOMENT}{_microseconds(value)}"
        case str():
            return f"{_TEXT}{value.encode().hex()}"


def _read(written: str) -> datetime | str | None:
    """The value that was written; raises ValueError or OverflowError for what was not."""
    kind, text = written[:1], written[1:]
    if kind == _MOMENT:
        return _moment(int(text))
    if kind == _TEXT and not (value := bytes.fromhex(text).decode()).count("\x00"):
        return value
    if written == _UNSET:
        return None
    raise ValueError("not a value that lists are ordered by")


def _microseconds(moment: datetime) -> int:
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _moment(microseconds: int) -> datetime:
    seconds, rest = divmod(microseconds, 1_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
    except OSError as error:
        raise OverflowError("beyond what a date holds") from error


def _seal(kind: str, *parts: str) -> str:
    text = binascii.b2a_base64(":".join((kind, *parts)).encode(), newline=False)
    return text.translate(_URL_SAFE).rstrip(b"=").decode()


def _open(cursor: str, path: str, kind: str, count: int) -> list[str]:
    if len(cursor) > MAX_CURSOR_CHARACTERS:
        raise _not_a_cursor(path)
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _not_a_cursor(path) from error
    found, *parts = text.split(":")
    if found != kind or len(parts) != count:
        raise _not_a_cursor(path)
    return parts


def _not_a_cursor(path: str) -> InvalidInput:
    return InvalidInput([Issue(path, "is not a cursor of this list; pass one that it returned")])


def _another(path: str, difference: str) -> InvalidInput:
    way_out = "begin anew without a cursor, or ask as you did when you were given it"
    return InvalidInput([Issue(path, f"is a cursor of another {difference}; {way_out}")])
