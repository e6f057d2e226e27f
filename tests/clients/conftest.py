"""What the clients under test are made of: code generated from the schema, and compiled, once."""

from pathlib import Path

import pytest

from tests.clients.programs import ROOT, output

HERE = Path(__file__).parent
GENERATED = {
    "test_apollo.py": "typescript",
    "test_codegen.py": "typescript",
    "test_persisted.py": "typescript",
    "test_ariadne.py": "ariadne",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one generated client on one worker, which generates it once."""
    for item in items:
        if item.path.parent == HERE and item.path.name in GENERATED:
            item.add_marker(pytest.mark.xdist_group(GENERATED[item.path.name]))


@pytest.fixture(scope="session")
def build() -> Path:
    """The compiled TypeScript clients; fails where the generator or the compiler finds anything wrong."""
    for command in (("graphql-codegen",), ("graphql-codegen", "--config", "trusted.ts"), ("tsc",)):
        output("npx", "--no-install", *command, directory=HERE)
    return HERE / "build"


@pytest.fixture(scope="session")
def package() -> Path:
    """The generated Python client, in a directory of its own."""
    target = ROOT / "build" / "ariadne"
    output(target / ".venv/bin/ariadne-codegen", "--config", "tests/clients/ariadne/codegen.toml")
    return target / "temporal_graphql_client"
