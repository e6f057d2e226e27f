"""graphql-codegen: what it makes of the schema compiles under strict settings and leaves nothing untyped."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def untyped(code: str) -> list[str]:
    """The lines that say `any`."""
    return [line for line in COMMENT.sub("", code).splitlines() if re.search(r"\bany\b", line)]


def test_the_generated_types_and_what_uses_them_compile(build: Path) -> None:
    assert (build / "types.js").exists()
    assert (build / "apollo" / "main.js").exists()


@pytest.mark.usefixtures("build")
def test_nothing_is_untyped() -> None:
    code = (HERE / "generated" / "graphql.ts").read_text()

    assert untyped(code) == []
    assert "completedAt: string | null" in code


def test_what_is_untyped_would_be_found() -> None:
    assert untyped("/** any */\ntype A = {\n  a: any | null;\n  many: string;\n}") == ["  a: any | null;"]
