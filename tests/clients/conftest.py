"""What the clients under test are made of: code generated from the schema, and compiled, once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.programs import ROOT, output

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def build(made_once: Callable[[str], None]) -> Path:
    """The compiled TypeScript clients; fails where the generator or the compiler finds anything wrong."""
    made_once("the TypeScript clients")
    for command in (("graphql-codegen",), ("graphql-codegen", "--config", "trusted.ts"), ("tsc",)):
        output("npx", "--no-install", *command, directory=HERE)
    return HERE / "build"


@pytest.fixture(scope="session")
def package(made_once: Callable[[str], None]) -> Path:
    """The generated Python client, in a directory of its own."""
    made_once("the Python client")
    target = ROOT / "build" / "ariadne"
    output(target / ".venv/bin/ariadne-codegen", "--config", "tests/clients/ariadne/codegen.toml")
    return target / "temporal_graphql_client"
