"""Scanners of others against a replica in a process of its own: `make scan`; docs/security.md has the record.

They take minutes: their name keeps them out of the suite.
"""

import asyncio
import json
import re
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import graphql
import pytest

from app import auth
from tests import factories
from tests.client import SECRET, Api
from tests.clients.programs import LIMIT_SECONDS, ROOT, output
from tests.processes.commands import Program

SCANNERS = ROOT / "build" / "scanners" / ".venv" / "bin"
GRAPHQLER = ROOT / "build" / "graphqler" / ".venv" / "bin" / "python"
SCHEMA = graphql.build_schema((ROOT / "schema.graphql").read_text())
CLOSED = {"INTROSPECTION": "false", "PLAYGROUND": "false"}


def bearer() -> str:
    """What a user of the replica shows."""
    return f"Authorization: Bearer {auth.mint(SECRET, 'alice')}"


async def ran(*command: str | Path, directory: Path = ROOT) -> str:
    """What a scanner prints; fails the test where it found something."""
    return await asyncio.to_thread(output, *command, directory=directory)


async def tried(*command: str | Path) -> str:
    """What a scanner says, that may give up."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    async with asyncio.timeout(LIMIT_SECONDS):
        said, _ = await process.communicate()
    return said.decode()


def names() -> set[str]:
    """Every word of the schema: no wordlist could be better."""
    types = [each for each in SCHEMA.type_map.values() if not each.name.startswith("__")]
    fields = [name for each in types for name in getattr(each, "fields", {})]
    arguments = [
        name
        for each in types
        if isinstance(each, graphql.GraphQLObjectType)
        for field in each.fields.values()
        for name in field.args
    ]
    return {*fields, *arguments}


def recovered(found: Path) -> set[str]:
    """The fields that clairvoyance has found of ours, as `Type.field`."""
    if not found.exists():
        return set()
    types: list[dict[str, Any]] = json.loads(found.read_text())["data"]["__schema"]["types"]
    fields = {(each["name"], field["name"]) for each in types for field in each.get("fields") or []}
    real = {
        (each.name, name)
        for each in SCHEMA.type_map.values()
        if isinstance(each, graphql.GraphQLObjectType | graphql.GraphQLInputObjectType)
        for name in each.fields
    }
    return {f"{type}.{field}" for type, field in fields & real}


@pytest.mark.parametrize("headers", [(), (bearer,)], ids=["stranger", "user"])
async def test_clairvoyance_recovers_no_field(
    program: Program, tmp_path: Path, headers: tuple[Callable[[], str], ...]
) -> None:
    words, found = tmp_path / "words.txt", tmp_path / "found.json"
    words.write_text("\n".join(sorted(names())))
    shown = [part for header in headers for part in ("-H", header())]

    async with program.serve(**CLOSED) as replica:
        said = await tried(SCANNERS / "clairvoyance", *shown, "-w", words, "-o", found, replica.api.url)

    assert "Starting blind introspection" in said, said
    assert recovered(found) == set()


async def test_clairvoyance_would_find_what_is_told(program: Program, tmp_path: Path) -> None:
    words, found = tmp_path / "words.txt", tmp_path / "found.json"
    words.write_text("viewr\n")

    async with program.serve() as replica:
        await tried(SCANNERS / "clairvoyance", "-H", bearer(), "-w", words, "-o", found, replica.api.url)

    assert "Query.viewer" in recovered(found)


async def test_schemathesis_finds_nothing(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEMATHESIS_HOOKS", "checks")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    async with program.serve() as replica:
        await belongings(replica.api)
        said = await ran(
            *(SCANNERS / "schemathesis", "run", replica.api.url, "--header", bearer()),
            *("--checks", "no_fault", "--max-examples", "50", "--seed", "1"),
            directory=tmp_path,
        )

    assert re.search(r"\d+ generated, \d+ passed|No issues found", said), said


async def test_graphqler_finds_nothing(program: Program, tmp_path: Path) -> None:
    async with program.serve() as replica:
        await belongings(replica.api)
        token = bearer().removeprefix("Authorization: ")
        said = await ran(
            *(GRAPHQLER, "-m", "graphqler", "--url", replica.api.url, "--path", tmp_path / "found"),
            *("--mode", "run", "--auth", token),
        )

    assert "INTERNAL" not in said
    statuses = re.findall(r'^    "(\d+)": {$', (tmp_path / "found" / "stats.txt").read_text(), re.MULTILINE)
    assert statuses == ["200"]


async def belongings(api: Api) -> None:
    """What Alice has, for a scanner to find."""
    async with api.client("alice") as alice:
        workflow = await factories.workflow(alice, f"nobody-{uuid4().hex}")
        await factories.start(alice, workflow)


async def test_the_bill_of_materials_is_one() -> None:
    validating = (
        "from cyclonedx.schema import SchemaVersion\n"
        "from cyclonedx.validation.json import JsonStrictValidator\n"
        "print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open('sbom.cdx.json').read()))"
    )

    assert await ran(SCANNERS / "python", "-c", validating) == "None\n"
