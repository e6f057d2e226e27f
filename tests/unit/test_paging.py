"""Cursors are opaque, exact and nobody's way to break anything."""

import base64
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import InvalidInput, Issue
from app.paging import (
    MAX_PAGE_SIZE,
    NewestKey,
    Page,
    cut,
    feed_cursor,
    feed_position,
    newest_cursor,
    newest_key,
    page_size,
)

ID = UUID("12345678-1234-5678-1234-567812345678")
KEYS = st.builds(NewestKey, st.datetimes(timezones=st.just(UTC)), st.uuids())
POSITIONS = st.integers(0, 10**18 - 1)
NOT_A_CURSOR = (Issue("/after", "is not a cursor of this list; pass one that it returned"),)


def sealed(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


# Cursors with the right wrapping and the wrong contents reach furthest.
CONTENTS = st.text(st.sampled_from("fn12:0129af-_+ .e{}\x00é"), max_size=60) | st.text(st.characters())
GARBAGE = (
    st.text(st.characters(), max_size=100)
    | CONTENTS.map(sealed)
    | st.tuples(st.sampled_from(["f1:", "n1:", "f2:", "n1:1:"]), CONTENTS).map("".join).map(sealed)
    | st.tuples(st.integers(), CONTENTS).map(lambda parts: sealed(f"n1:{parts[0]}:{parts[1]}"))
    | st.tuples(st.integers(), st.uuids()).map(lambda parts: sealed(f"n1:{parts[0]}:{parts[1].hex}"))
)


@given(POSITIONS)
@example(10**18 - 1)
def test_a_feed_cursor_gives_its_position_back(position: int) -> None:
    assert feed_position(feed_cursor(position)) == position


@given(KEYS)
@example(NewestKey(datetime.min.replace(tzinfo=UTC), UUID(int=0)))
@example(NewestKey(datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1)))
@example(NewestKey(datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), ID))
@example(NewestKey(datetime(2026, 1, 8, 0, 0, 0, 1, UTC), ID))
def test_a_list_cursor_gives_its_key_back_to_the_microsecond(key: NewestKey) -> None:
    assert newest_key(newest_cursor(key)) == key


@given(POSITIONS, KEYS)
def test_cursors_fit_into_an_address_as_they_are(position: int, key: NewestKey) -> None:
    text = feed_cursor(position) + newest_cursor(key)

    assert text.isascii()
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@given(GARBAGE)
def test_garbage_is_refused_as_invalid_input_or_read_within_bounds(text: str) -> None:
    with suppress(InvalidInput):
        assert 0 <= feed_position(text) < 10**18
    with suppress(InvalidInput):
        assert newest_key(text).created_at.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "====",
        "é",
        "\ud800",
        "ZjE6NQ\n",
        sealed("f1"),
        sealed("f1:"),
        sealed("f1:-1"),
        sealed("f1: 1"),
        sealed("f1:1:2"),
        sealed("f1:²"),
        sealed("f1:1e3"),
        sealed("f2:1"),
        sealed("f1:" + "9" * 19),
        newest_cursor(NewestKey(datetime(2026, 1, 8, tzinfo=UTC), ID)),
    ],
)
def test_what_is_not_a_feed_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        feed_position(text)

    assert caught.value.issues == NOT_A_CURSOR


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "\x00",
        sealed("n1:1"),
        sealed(f"n1::{ID.hex}"),
        sealed(f"n1:1.5:{ID.hex}"),
        sealed(f"n1:{'9' * 30}:{ID.hex}"),
        sealed(f"n1:{'9' * 5_000}:{ID.hex}"),
        sealed(f"n1:{-(10**17)}:{ID.hex}"),
        sealed(f"n1:1:{ID.hex[1:]}"),
        sealed(f"n1:1:{'g' * 32}"),
        sealed(f"n1:1:{ID.hex}:"),
        feed_cursor(1),
    ],
)
def test_what_is_not_a_list_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        newest_key(text)

    assert caught.value.issues == NOT_A_CURSOR


def test_a_page_has_ten_items_unless_asked_otherwise() -> None:
    assert [page_size(first) for first in (None, 1, 50, MAX_PAGE_SIZE)] == [10, 1, 50, 100]


@pytest.mark.parametrize("first", [0, -1, 101, 2**31])
def test_a_page_size_out_of_bounds_is_refused(first: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        page_size(first)

    assert caught.value.issues == (Issue("/first", f"must be between 1 and 100, not {first}"),)


@pytest.mark.parametrize(
    ("rows", "items", "has_next"), [([], [], False), ([1, 2], [1, 2], False), ([1, 2, 3], [1, 2], True)]
)
def test_the_extra_row_only_tells_that_there_is_more(
    rows: list[int], items: list[int], has_next: bool
) -> None:
    assert cut(rows, 2, has_previous=False) == Page(items, has_next, has_previous=False)
    assert cut(rows, 2, has_previous=True) == Page(items, has_next, has_previous=True)
