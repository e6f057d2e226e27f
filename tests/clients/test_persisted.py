"""Hashes and ids in place of documents, as Apollo Client and graphql-ws send them, over HTTP and a socket."""

import asyncio
import json
from pathlib import Path
from typing import Any

from graphql import parse, print_ast

from app import auth
from app.settings import Settings
from tests.client import SECRET, Api, serving
from tests.clients.programs import output

HERE = Path(__file__).parent
PERSISTED = HERE / "generated/trusted/persisted-documents.json"


async def run(build: Path, api: Api, names: str = "hash", **environment: str) -> list[dict[str, Any]]:
    """What apollo/persisted.ts prints."""
    given = {"URL": api.url, "TOKEN": auth.mint(SECRET, "alice"), "NAMES": names, **environment}
    program = build / "apollo" / "persisted.js"
    said = await asyncio.to_thread(lambda: output("node", program, environment=given))
    return [json.loads(line) for line in said.splitlines()]


async def test_apollo_sends_the_text_once_and_graphql_ws_the_hash(build: Path, api: Api) -> None:
    said = await run(build, api)

    assert said == [
        {"sent": "POST", "text": False, "status": 400},
        {"sent": "POST", "text": True, "status": 200},
        {"total": 0},
        {"sent": "POST", "text": False, "status": 200},
        {"total": 0},
        {"socket": ["PersistedQueryNotFound"]},
        {"socket": {"viewer": {"id": "alice"}}},
        {"socket": {"viewer": {"id": "alice"}}},
    ]


async def test_apollo_gets_what_has_a_hash(build: Path, api: Api) -> None:
    said = await run(build, api, GET="true")

    assert said[:5] == [
        {"sent": "GET", "text": False, "status": 400},
        {"sent": "POST", "text": True, "status": 200},
        {"total": 0},
        {"sent": "GET", "text": False, "status": 200},
        {"total": 0},
    ]


async def test_apollo_understands_a_refusal_of_status_200(build: Path, api: Api) -> None:
    said = await run(build, api, ACCEPT="application/json")

    assert said[:3] == [
        {"sent": "POST", "text": False, "status": 200},
        {"sent": "POST", "text": True, "status": 200},
        {"total": 0},
    ]


async def test_apollo_gives_up_where_hashes_are_not_supported(build: Path, settings: Settings) -> None:
    off = settings.model_copy(update={"automatic_persisted_queries": False})

    async with serving(off) as api:
        said = await run(build, api)

    assert said[:5] == [
        {"sent": "POST", "text": False, "status": 400},
        {"sent": "POST", "text": True, "status": 200},
        {"total": 0},
        {"sent": "POST", "text": True, "status": 200},
        {"total": 0},
    ]


async def named(build: Path, settings: Settings, manifest: Path, names: str) -> list[dict[str, Any]]:
    """What the program prints where a replica executes only what is in a manifest."""
    only = settings.model_copy(update={"trusted_documents": manifest, "trusted_documents_only": True})
    async with serving(only) as api:
        return await run(build, api, names)


async def test_apollo_names_what_codegen_persisted(build: Path, settings: Settings) -> None:
    said = await named(build, settings, PERSISTED, "codegen")

    assert said == [{"sent": "POST", "text": False, "status": 200}, {"total": 0}] * 2


async def test_apollo_names_what_its_own_generator_persisted(
    build: Path, settings: Settings, tmp_path: Path
) -> None:
    # It takes one operation in a file.
    definitions = [each for path in HERE.glob("operations/*") for each in parse(path.read_text()).definitions]
    for place, definition in enumerate(definitions):
        (tmp_path / f"{place}.graphql").write_text(print_ast(definition))
    manifest, config = tmp_path / "manifest.json", tmp_path / "config.json"
    config.write_text(json.dumps({"documents": [f"{tmp_path}/*.graphql"], "output": str(manifest)}))
    output("npx", "--no-install", "generate-persisted-query-manifest", "--config", config, directory=HERE)

    said = await named(build, settings, manifest, str(manifest))

    assert said == [{"sent": "POST", "text": False, "status": 200}, {"total": 0}] * 2
