"""`python -m schema.breaking`: fails where the schema breaks what was committed, unless that is meant."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from graphql import build_schema, find_breaking_changes

from schema import sdl

COMMITTED = "schema.graphql"
# A line for each break that is meant, as this program words it; the rest of the lines are for people.
MEANT = "docs/breaking-changes.md"
# What a clone knows of the branch that this one leaves; a shallow one knows neither, nor a parent.
MAIN = ("origin/main", "main")
TIMEOUT_SECONDS = 30


def breaks(old: str, new: str) -> list[str]:
    """What clients of the old schema can no longer rely on in the new one, a sentence each."""
    found = find_breaking_changes(build_schema(old), build_schema(new))
    return sorted(f"{change.type.name}: {change.description}" for change in found)


def meant(text: str) -> set[str]:
    """The breaks that a text lists, one in each item of its lists."""
    return {line.removeprefix("* ").strip() for line in text.splitlines() if line.startswith("* ")}


def committed(repository: Path) -> list[str]:
    """The schemas to compare with: of HEAD, its parent and where it left main, as far as they are known."""
    revisions = ["HEAD", "HEAD^", *_forks(repository)]
    texts = (_git(repository, "show", f"{revision}:{COMMITTED}") for revision in revisions)
    return list(dict.fromkeys(text for text in texts if text is not None))


def unmeant(repository: Path, new: str) -> list[str]:
    """The breaks of what is committed in a repository that it does not list as meant."""
    path = repository / MEANT
    allowed = meant(path.read_text()) if path.exists() else set()
    found = {each for old in committed(repository) for each in breaks(old, new)}
    return sorted(found - allowed)


def _forks(repository: Path) -> Iterator[str]:
    for branch in MAIN:
        fork = _git(repository, "merge-base", "HEAD", branch)
        if fork is not None:
            yield fork.strip()


def _git(repository: Path, *arguments: str) -> str | None:
    """What git answers; None where it knows no such thing, or is not there."""
    program = shutil.which("git")
    if program is None:
        return None
    done = subprocess.run(  # noqa: S603 - the arguments are ours # nosec B603
        [program, "-C", repository, *arguments], capture_output=True, timeout=TIMEOUT_SECONDS, check=False
    )
    return done.stdout.decode() if done.returncode == 0 else None


def main(repository: Path) -> int:
    """Say what is broken; the exit code."""
    if not committed(repository):
        sys.stdout.write("git knows no schema: there is nothing to compare with\n")
    found = unmeant(repository, sdl())
    if found:
        lines = [
            "The schema breaks its clients:",
            *(f"* {each}" for each in found),
            f"Add instead of changing; or, where it is meant, copy these lines into {MEANT} and say why.",
        ]
        sys.stderr.write("\n".join(lines) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path()))
