"""The rules of style that no linter has."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
OURS = ("app", "resolvers", "schema", "examples", "migrations", "tests")
MAX_BODY_LINES = 60
NAMES_THAT_SAY_NOTHING = {"util", "helper", "common", "manager", "handler", "misc", "service"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Check = Callable[[ast.Module], list[str]]


def files(*packages: str) -> list[Path]:
    """The Python files of the packages, less the migrations, which Alembic writes."""
    found = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in found if "versions" not in path.parts and "node_modules" not in path.parts]


def long_functions(module: ast.Module) -> list[str]:
    """Functions whose bodies are longer than anyone reads."""
    return [
        f"{each.name}: {lines} lines"
        for each in ast.walk(module)
        if isinstance(each, Function)
        and (lines := (each.end_lineno or 0) - each.body[0].lineno + 1) > MAX_BODY_LINES
    ]


def hidden_imports(module: ast.Module) -> list[str]:
    """Imports inside functions, and those that only the type checker sees."""
    return sorted({f"line {each.lineno}" for each in _imports(module)})


def _imports(module: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    for scope in ast.walk(module):
        if isinstance(scope, Function) or _is_for_the_type_checker(scope):
            yield from (each for each in ast.walk(scope) if isinstance(each, ast.Import | ast.ImportFrom))


def _is_for_the_type_checker(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def without_docstring(module: ast.Module) -> list[str]:
    """Public functions and classes of a module that do not say what they do."""
    return [
        each.name
        for each in module.body
        if isinstance(each, Function | ast.ClassDef)
        and not each.name.startswith("_")
        and not ast.get_docstring(each)
    ]


def violations(check: Check, *packages: str) -> dict[str, list[str]]:
    found = {
        path.relative_to(ROOT).as_posix(): check(ast.parse(path.read_text())) for path in files(*packages)
    }
    assert found, packages
    return {path: wrong for path, wrong in found.items() if wrong}


def says_nothing(path: Path) -> bool:
    """Whether a part of the path is a word for anything at all."""
    words = {word.removesuffix("s") for part in path.with_suffix("").parts for word in part.split("_")}
    return not words.isdisjoint(NAMES_THAT_SAY_NOTHING)


def test_functions_are_short() -> None:
    assert violations(long_functions, *OURS) == {}


def test_imports_are_at_the_top() -> None:
    assert violations(hidden_imports, "app", "resolvers", "schema", "examples", "migrations") == {}


def test_what_is_public_says_what_it_does() -> None:
    assert violations(without_docstring, "app", "resolvers") == {}


def test_modules_are_named_after_what_is_in_them() -> None:
    assert [path.name for path in files(*OURS) if says_nothing(path.relative_to(ROOT))] == []


LONG = "def f():\n" + "    x = 1\n" * (MAX_BODY_LINES + 1)


@pytest.mark.parametrize(
    ("check", "code", "found"),
    [
        (long_functions, LONG, ["f: 61 lines"]),
        (long_functions, LONG.removesuffix("    x = 1\n"), []),
        (long_functions, "class A:\n    async " + LONG.replace("\n", "\n    ").strip(), ["f: 61 lines"]),
        (hidden_imports, "def f():\n    if x:\n        import os", ["line 3"]),
        (hidden_imports, "if TYPE_CHECKING:\n    from a import b", ["line 2"]),
        (hidden_imports, "import os\nfrom a import b", []),
        (without_docstring, "def f(): pass\nclass A: pass\ndef _g(): pass", ["f", "A"]),
        (
            without_docstring,
            'async def f():\n    """Says."""\nclass A:\n    """Says."""\n    def m(self): pass',
            [],
        ),
    ],
)
def test_a_violation_would_be_found(check: Check, code: str, found: list[str]) -> None:
    assert check(ast.parse(code)) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("app/utils.py", True),
        ("app/db_helpers.py", True),
        ("app/common/errors.py", True),
        ("resolvers/execution_manager.py", True),
        ("app/handlers.py", True),
        ("app/hub.py", False),
        ("app/store/events.py", False),
    ],
)
def test_a_name_that_says_nothing_would_be_found(path: str, found: bool) -> None:
    assert says_nothing(Path(path)) is found
