"""docs/errors.md has every failure there is, as the code has it."""

from pathlib import Path

import pytest
from graphql import GraphQLError, GraphQLInterfaceType, build_schema

from app import errors
from app.errors import DomainError, ErrorCode, Issue
from schema import sdl
from schema.errors import present
from schema.manual import EXTENSIONS, WAYS_OUT, code_of, manual

ROOT = Path(__file__).parent.parent.parent

# One of each kind that carries something, with all the data that it can have.
CARRIERS: list[Exception] = [
    errors.Forbidden("", "executions:read"),
    errors.InvalidInput([Issue("/a", "")]),
    errors.TooComplex("depth", "levels", 10, 11),
    errors.CursorExpired(1),
    errors.RateLimited("", 1),
    errors.Unavailable("", 1),
    RuntimeError(),
]


def kinds(parent: type[DomainError] = DomainError) -> set[ErrorCode]:
    """The codes of all failures that the application knows."""
    return {parent.code}.union(*(kinds(child) for child in parent.__subclasses__()))


def test_the_committed_manual_is_the_one_that_is_printed() -> None:
    assert (ROOT / "docs/errors.md").read_text() == manual(), "docs/errors.md is stale: make schema"


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_row_and_a_way_out(code: ErrorCode) -> None:
    (row,) = [line for line in manual().splitlines() if line.startswith(f"| `{code}` |")]

    assert WAYS_OUT[code] in row


def test_every_member_has_a_row_under_its_code() -> None:
    schema = build_schema(sdl())
    error = schema.type_map["Error"]
    assert isinstance(error, GraphQLInterfaceType)
    members = schema.get_possible_types(error)

    assert {"NotFoundError", "RateLimitedError"} <= {member.name for member in members}
    for member in members:
        (row,) = [line for line in manual().splitlines() if line.startswith(f"| `{member.name}` |")]
        assert f"| `{code_of(member)}` |" in row
        assert all(f"`{name}`" in row for name in member.fields if name not in error.fields)


def test_what_extensions_carry_is_what_the_manual_says() -> None:
    carried: dict[str, set[str]] = {}
    for cause in CARRIERS:
        extensions = present(GraphQLError("", original_error=cause)).extensions or {}
        carried[extensions["code"]] = set(extensions) - {"code"}

    assert carried == {code: set(keys) for code, keys in EXTENSIONS.items()}


def test_every_code_is_answered_by_something() -> None:
    assert set(ErrorCode) == kinds()
