"""What callers send is checked before it is written; that all of it is then kept, tests/store asserts."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given

from app import inputs
from app.errors import ErrorCode, InvalidInput, Issue
from tests.unit.values import ANY_JSON, ANY_TEXT

NUL = "must not contain the NUL character"
SURROGATES = "must not contain lone surrogates"
INTEGER = "must be an integer of 64 bits at most"
FINITE = "must be a finite number"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "issues"),
    [
        ("\x00", [Issue("/input", NUL)]),
        ("\ud800", [Issue("/input", SURROGATES)]),
        ("\udfff\x00", [Issue("/input", NUL), Issue("/input", SURROGATES)]),
        (float("nan"), [Issue("/input", FINITE)]),
        (float("-inf"), [Issue("/input", FINITE)]),
        (2**63, [Issue("/input", INTEGER)]),
        (-(2**63), [Issue("/input", INTEGER)]),
        pytest.param(10**5_000, [Issue("/input", INTEGER)], id="5,001 digits"),
        ({"a": [1, "\x00"]}, [Issue("/input/a/1", NUL)]),
        ({"a/b~c": float("inf")}, [Issue("/input/a~1b~0c", FINITE)]),
        ({"": {"": "\x00"}}, [Issue("/input//", NUL)]),
        ({"\x00": 1}, [Issue("/input", NUL)]),
        ({"\ud800": "\x00"}, [Issue("/input", SURROGATES), Issue("/input/?", NUL)]),
        (nested(65), [Issue("/input" + "/0" * 65, "is nested deeper than 64 levels")]),
    ],
)
def test_json_that_cannot_be_kept_is_refused_where_it_is_wrong(value: Any, issues: list[Issue]) -> None:
    assert list(inputs.json("/input", value)) == issues


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(2**63) + 1, 2**63 - 1, 1.7976931348623157e308, "", "\x01\x7f😀", [], {}, nested(64)],
)
def test_json_within_bounds_passes(value: Any) -> None:
    assert list(inputs.json("/input", value)) == []


def test_every_violation_of_a_json_value_is_told() -> None:
    issues = list(inputs.json("", {"a": "\x00", "b": [2**64, {"c": float("nan")}]}))

    assert sorted(issue.path for issue in issues) == ["/a", "/b/0", "/b/1/c"]


def test_depth_is_measured_without_recursion() -> None:
    issues = list(inputs.json("", nested(100_000)))

    assert [issue.message for issue in issues] == ["is nested deeper than 64 levels"]


def test_a_place_is_told_in_bounded_text() -> None:
    (issue,) = inputs.json("", {"k" * 10_000: "\x00"})

    assert issue.path == "/" + "k" * 100


@given(ANY_JSON)
def test_json_that_passes_is_encodable_and_comes_back_equal(value: Any) -> None:
    if not list(inputs.json("", value)):
        assert orjson.loads(orjson.dumps(value)) == value


@given(ANY_JSON)
def test_a_place_can_be_told_to_the_client(value: Any) -> None:
    for issue in inputs.json("/input", value):
        assert orjson.dumps([issue.path, issue.message])
        assert issue.path.startswith("/input")


@pytest.mark.parametrize(
    ("value", "issues"),
    [
        (None, []),
        ("", []),
        ("a" * 10, []),
        ("a" * 11, [Issue("/text", "must have 10 characters at most, not 11")]),
        ("\x00", [Issue("/text", NUL)]),
        ("\ud800", [Issue("/text", SURROGATES)]),
        ("line\nbreak", []),
    ],
)
def test_a_text_is_bounded_and_storable(value: str | None, issues: list[Issue]) -> None:
    assert list(inputs.text("/text", value, limit=10)) == issues


@pytest.mark.parametrize(
    ("value", "issues"),
    [
        ("a", []),
        ("Ordnung für 2 €", []),
        ("a" * 255, []),
        ("a" * 256, [Issue("/name", "must have 255 characters at most, not 256")]),
        ("", [Issue("/name", "must not be empty")]),
        (" \t ", [Issue("/name", "must not be empty")]),
        ("a\nb", [Issue("/name", "must be printable characters on one line")]),
        ("a\x00", [Issue("/name", "must be printable characters on one line")]),
        ("\ud800", [Issue("/name", "must be printable characters on one line")]),
    ],
)
def test_a_name_is_one_printable_line(value: str, issues: list[Issue]) -> None:
    assert list(inputs.name("/name", value)) == issues


@pytest.mark.parametrize(
    ("value", "issues"),
    [
        (None, []),
        (1, []),
        (0, [Issue("/n", "must be above 0, not 0")]),
        (-1, [Issue("/n", "must be above 0, not -1")]),
    ],
)
def test_a_count_is_above_zero(value: int | None, issues: list[Issue]) -> None:
    assert list(inputs.positive("/n", value)) == issues


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        ("", ""),
        ("a\x00b", "ab"),
        ("a\ud800b", "a?b"),
        ("a" * 11, "a" * 10),
        ("\x00" * 5 + "b", "b"),
    ],
)
def test_a_remark_is_kept_without_what_cannot_be(value: str | None, kept: str | None) -> None:
    assert inputs.storable(value, 10) == kept


@given(ANY_TEXT)
def test_a_remark_passes_the_check_of_texts(value: str) -> None:
    kept = inputs.storable(value, 10)

    assert list(inputs.text("", kept, limit=10)) == []


def some(*issues: Issue) -> Iterator[Issue]:
    yield from issues


def test_a_check_without_issues_passes() -> None:
    inputs.check()
    inputs.check(some(), some())


def test_a_check_raises_all_issues_and_says_the_first() -> None:
    issues = [Issue(f"/{number}", "is wrong") for number in range(7)]

    with pytest.raises(InvalidInput) as caught:
        inputs.check(some(*issues[:3]), some(), some(*issues[3:]))

    assert caught.value.code is ErrorCode.INVALID_INPUT
    assert caught.value.issues == tuple(issues)
    assert caught.value.message == "; ".join(f"/{number}: is wrong" for number in range(5))
