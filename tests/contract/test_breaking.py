"""A change of the schema that breaks its clients is found, however much git knows of the past."""

import subprocess
import sys
from pathlib import Path

import pytest

from schema import breaking, sdl

ROOT = Path(__file__).parent.parent.parent
OLD = """
type Query { a(x: Int): [E!]! b: String u: U i(input: I): Int }
enum E { ONE TWO }
input I { x: Int }
union U = A | B
type A { id: ID! }
type B { id: ID! }
"""
LOST = "FIELD_REMOVED: Field Query.b was removed."
GONE = "TYPE_REMOVED: C was removed."


def git(directory: Path, *arguments: str) -> None:
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *author, *arguments], cwd=directory, check=True, capture_output=True)


def commit(directory: Path, schema: str) -> None:
    (directory / "schema.graphql").write_text(schema)
    git(directory, "add", ".")
    git(directory, "commit", "--message", "schema")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit of the old schema."""
    directory = tmp_path / "repository"
    directory.mkdir()
    git(directory, "init")
    commit(directory, OLD)
    return directory


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (" b: String", "", "FIELD_REMOVED"),
        ("b: String", "b: Int", "FIELD_CHANGED_KIND"),
        ("[E!]!", "[E!]", "FIELD_CHANGED_KIND"),
        ("(x: Int)", "", "ARG_REMOVED"),
        ("(x: Int)", "(x: Int, y: Int!)", "REQUIRED_ARG_ADDED"),
        (" TWO", "", "VALUE_REMOVED_FROM_ENUM"),
        (" | B", "", "TYPE_REMOVED_FROM_UNION"),
        ("I { x: Int }", "I { x: Int! }", "FIELD_CHANGED_KIND"),
    ],
)
def test_a_break_is_found(repository: Path, old: str, new: str, kind: str) -> None:
    found = breaking.unmeant(repository, OLD.replace(old, new))

    assert [each.partition(":")[0] for each in found] == [kind]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("b: String", "b: String c: Int"),
        ("b: String", '"What it is" b: String'),
        ("b: String", "b: String!"),
        ("(x: Int)", "(x: Int, y: Int)"),
        ("TWO", "TWO THREE"),
        ("I { x: Int }", "I { x: Int y: Int = 1 }"),
        ("type B {", "type C { id: ID! } type B {"),
    ],
)
def test_an_addition_breaks_nothing(repository: Path, old: str, new: str) -> None:
    assert breaking.unmeant(repository, OLD.replace(old, new)) == []


def test_a_break_that_is_committed_is_still_found(repository: Path) -> None:
    new = OLD.replace(" b: String", "")
    commit(repository, new)

    assert breaking.unmeant(repository, new) == [LOST]


def test_a_branch_is_compared_with_where_it_left_main(repository: Path) -> None:
    new = OLD.replace(" b: String", "")
    git(repository, "checkout", "-b", "branch")
    commit(repository, new)
    commit(repository, new + "type C { id: ID! }")

    assert breaking.unmeant(repository, new) == [LOST, GONE]


def test_a_break_that_is_meant_is_allowed(repository: Path) -> None:
    (repository / "docs").mkdir()
    (repository / breaking.MEANT).write_text(f"# Meant\n\nNobody used it:\n\n* {LOST}\n")

    assert breaking.unmeant(repository, OLD.replace(" b: String", "")) == []
    assert breaking.unmeant(repository, OLD.replace(" TWO", "")) != []


def test_a_shallow_clone_knows_its_own_commit(repository: Path, tmp_path: Path) -> None:
    commit(repository, OLD + "type C { id: ID! }")
    git(tmp_path, "clone", "--depth", "1", repository.as_uri(), "clone")

    assert breaking.unmeant(tmp_path / "clone", OLD) == [GONE]


def test_without_a_history_there_is_nothing_to_break_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert breaking.unmeant(tmp_path, OLD) == []
    assert breaking.main(tmp_path) == 0
    assert "nothing to compare with" in capsys.readouterr().out


def test_the_command_says_what_is_broken_and_the_way_out(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ("type C { id: ID! }", "type C { id: ID }"):
        commit(repository, sdl() + more)

    assert breaking.main(repository) == 1

    said = capsys.readouterr().err.splitlines()
    assert said[1:-1] == [f"* {GONE}"]
    assert breaking.MEANT in said[-1]


def test_make_check_asks() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "schema.breaking"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "-m schema.breaking" in (ROOT / "Makefile").read_text()
