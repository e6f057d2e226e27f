"""Cursors are opaque, exact and nobody's way to break anything."""

import base64
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import InvalidInput, Issue
from app.paging import (
    MAX_PAGE_SIZE,
    Binding,
    Key,
    Page,
    Paging,
    Window,
    feed_cursor,
    feed_position,
    window,
)
from tests.unit.values import KEPT_TEXT

ID = UUID("12345678-1234-5678-1234-567812345678")
BY_TIME = Binding("executions", "CREATED_AT DESC", "0123")
BY_NAME = Binding("workflows", "NAME ASC", "0123", kinds=(str,))
MOMENTS = st.builds(Key, st.none() | st.datetimes(timezones=st.just(UTC)), st.uuids())
NAMES = st.builds(Key, KEPT_TEXT, st.uuids())
POSITIONS = st.integers(0, 10**18 - 1)
NOT_A_CURSOR = (Issue("/after", "is not a cursor of this list; pass one that it returned"),)


def sealed(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def listed(value: str, id: str = ID.hex) -> str:
    """A cursor of the list by time, whatever it holds."""
    return sealed(f"l1:executions:CREATED_AT DESC:0123:{value}:{id}")


# Cursors with the right wrapping and the wrong contents reach furthest.
CONTENTS = st.text(st.sampled_from("fl12mt:0129af-_+ .e{}\x00é"), max_size=60) | st.text(st.characters())
GARBAGE = (
    st.text(st.characters(), max_size=100)
    | CONTENTS.map(sealed)
    | st.tuples(st.sampled_from(["f1:", "l1:", "f2:", "l1:executions:"]), CONTENTS).map("".join).map(sealed)
    | CONTENTS.map(listed)
    | st.builds(listed, st.integers().map("m{}".format), CONTENTS)
    | st.builds(listed, st.integers().map("m{}".format), st.uuids().map(lambda uuid: uuid.hex))
)


@given(POSITIONS)
@example(10**18 - 1)
def test_a_feed_cursor_gives_its_position_back(position: int) -> None:
    assert feed_position(feed_cursor(position)) == position


@given(MOMENTS)
@example(Key(datetime.min.replace(tzinfo=UTC), UUID(int=0)))
@example(Key(datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1)))
@example(Key(datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), ID))
@example(Key(datetime(2026, 1, 8, 0, 0, 0, 1, UTC), ID))
def test_a_list_cursor_gives_its_time_back_to_the_microsecond(key: Key) -> None:
    assert BY_TIME.key(BY_TIME.cursor(key), "/after") == key


@given(NAMES)
@example(Key("🎈" * 255, ID))
def test_a_list_cursor_gives_its_text_back(key: Key) -> None:
    assert BY_NAME.key(BY_NAME.cursor(key), "/after") == key


@given(POSITIONS, MOMENTS, NAMES)
def test_cursors_fit_into_an_address_as_they_are(position: int, moment: Key, name: Key) -> None:
    text = feed_cursor(position) + BY_TIME.cursor(moment) + BY_NAME.cursor(name)

    assert text.isascii()
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@given(GARBAGE)
def test_garbage_is_refused_as_invalid_input_or_read_within_bounds(text: str) -> None:
    with suppress(InvalidInput):
        assert 0 <= feed_position(text) < 10**18
    with suppress(InvalidInput):
        value = BY_TIME.key(text, "/after").value
        assert value is None or (isinstance(value, datetime) and value.tzinfo is UTC)
    with suppress(InvalidInput):
        assert "\x00" not in str(BY_NAME.key(text, "/after").value)


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
        BY_TIME.cursor(Key(datetime(2026, 1, 8, tzinfo=UTC), ID)),
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
        listed("")[:-2],
        listed(""),
        listed("1"),
        listed("m"),
        listed("m1.5"),
        listed("m" + "9" * 30),
        listed("m" + "9" * 2_000),
        listed("m" + "9" * 5_000),
        listed(f"m-{10**17}"),
        listed("m1", ID.hex[1:]),
        listed("m1", "g" * 32),
        listed("m1", f"{ID.hex}:"),
        listed("--"),
        # What is right for another order.
        listed("t41"),
        sealed(f"l1:workflows:CREATED_AT DESC:0123:m1:{ID.hex}"),
        feed_cursor(1),
    ],
)
def test_what_is_not_a_list_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        BY_TIME.key(text, "/after")

    assert caught.value.issues == NOT_A_CURSOR


@pytest.mark.parametrize("value", ["-", "m1", "t4", "tzz", "t00", "tff", "teda080"])
def test_what_is_no_name_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        BY_NAME.key(sealed(f"l1:workflows:NAME ASC:0123:{value}:{ID.hex}"), "/before")

    assert [issue.path for issue in caught.value.issues] == ["/before"]


def test_a_cursor_of_another_order_or_filter_says_so() -> None:
    cursor = BY_TIME.cursor(Key(None, ID))

    def complaint(binding: Binding) -> str:
        with pytest.raises(InvalidInput) as caught:
            binding.key(cursor, "/after")
        return caught.value.message

    assert complaint(replace(BY_TIME, order="UPDATED_AT ASC")) == (
        "/after: is a cursor of another order, CREATED_AT DESC: this list is in the order UPDATED_AT ASC; "
        "begin anew without a cursor, or ask as you did when you were given it"
    )
    assert complaint(replace(BY_TIME, narrowing="4567")) == (
        "/after: is a cursor of another filter: this list is narrowed in another way; "
        "begin anew without a cursor, or ask as you did when you were given it"
    )


def asked(*arguments: Any, **more: Any) -> Window[int]:
    return window(Paging(*arguments, **more), feed_position)


def test_a_page_has_ten_items_unless_asked_otherwise() -> None:
    assert [asked(first).size for first in (None, 1, 50, MAX_PAGE_SIZE)] == [10, 1, 50, 100]
    assert [asked(last=last).size for last in (1, 50, MAX_PAGE_SIZE)] == [1, 50, 100]


def test_a_list_is_read_from_behind_on_request() -> None:
    one, two = feed_cursor(1), feed_cursor(2)

    assert asked() == Window(10)
    assert asked(3, one) == Window(3, after=1)
    assert asked(last=3) == Window(3, backward=True)
    assert asked(last=3, before=two) == Window(3, before=2, backward=True)
    assert asked(before=two) == Window(10, before=2, backward=True)
    assert asked(3, before=two) == Window(3, before=2)
    assert asked(after=one, before=two) == Window(10, after=1, before=2)
    assert asked(3, page=4) == Window(3, skipped=9)
    assert asked(page=1) == Window(10)
    # An empty cursor is none.
    assert asked(3, "", before="") == Window(3)


def issues(*arguments: Any, **more: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        asked(*arguments, **more)
    return [f"{issue.path} {issue.message}" for issue in caught.value.issues]


@pytest.mark.parametrize("size", [0, -1, 101, 2**31])
def test_a_page_size_out_of_bounds_is_refused(size: int) -> None:
    assert issues(size) == [f"/first must be between 1 and 100, not {size}"]
    assert issues(last=size) == [f"/last must be between 1 and 100, not {size}"]


def test_arguments_that_contradict_each_other_are_refused() -> None:
    cursor, with_page = feed_cursor(1), "must not be given with `page`: use `first`, or leave out `page`"

    assert issues(1, last=1) == [
        "/last must not be given together with `first`: they read from opposite ends"
    ]
    assert issues(page=0) == ["/page counts from 1: it must not be 0"]
    assert issues(after=cursor, page=1) == [f"/after {with_page}"]
    assert issues(last=1, before=cursor, page=1) == [f"/last {with_page}", f"/before {with_page}"]
    assert issues(before="x") == ["/before is not a cursor of this list; pass one that it returned"]


def test_numbered_pages_end_where_counting_to_them_would_take_long() -> None:
    assert asked(100, page=100).skipped == 9_900
    assert asked(3, page=3_333).skipped == 9_996

    for first, page in ((100, 101), (3, 3_334), (1, 2**31)):
        (issue,) = issues(first, page=page)
        assert issue == (
            f"/page must lie within the first 10,000 items, which page {page} of {first} does not: "
            "go on with `after` and a cursor, or narrow the filter"
        )


@pytest.mark.parametrize(
    ("rows", "items", "more"), [([], [], False), ([1, 2], [1, 2], False), ([1, 2, 3], [1, 2], True)]
)
def test_the_extra_row_only_tells_that_there_is_more(
    rows: list[int], items: list[int], *, more: bool
) -> None:
    assert Window[int](2).cut(rows) == Page(items, more, has_previous=False)
    assert Window(2, after=1).cut(rows) == Page(items, more, has_previous=True)
    assert Window[int](2, skipped=2).cut(rows) == Page(items, more, has_previous=True)
    assert Window(2, before=1).cut(rows) == Page(items, has_next=True, has_previous=False)
    # Read from behind, the rows come in the list's order all the same.
    assert Window[int](2, backward=True).cut(rows) == Page(items[::-1], has_next=False, has_previous=more)
    assert Window(2, before=1, backward=True).cut(rows) == Page(items[::-1], True, more)
    assert Window(2, after=1, backward=True).cut(rows) == Page(items[::-1], False, has_previous=True)
