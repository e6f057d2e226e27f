"""What the TypeScript clients are made of: types generated from the schema, compiled once."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TYPESCRIPT = ("test_apollo.py", "test_codegen.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what needs the compiled clients on one worker, which compiles them once."""
    for item in items:
        if item.path.parent == HERE and item.path.name in TYPESCRIPT:
            item.add_marker(pytest.mark.xdist_group("typescript"))


@pytest.fixture(scope="session")
def build() -> Path:
    """The compiled clients; fails where the generator or the compiler finds anything wrong."""
    for program in ("graphql-codegen", "tsc"):
        command = ["npx", "--no-install", program]
        run = subprocess.run(command, cwd=HERE, check=False, capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stdout + run.stderr
    return HERE / "build"
