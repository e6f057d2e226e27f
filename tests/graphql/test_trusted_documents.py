"""Trusted documents: a manifest of what clients may name, and with `only` of all that is executed."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app import main
from app.paging import feed_cursor
from app.settings import InvalidSettings, Settings
from resolvers.context import Services
from tests import factories
from tests.client import Client, serving
from tests.graphql.transports import EVERY_WAY, STREAMS, by_post
from tests.processes.commands import Program

Quiet = Callable[[], None]

VIEWER = "query Who { viewer { id } }"
COUNT = "query Count { executions { totalCount } }"
ALICE = {"data": {"viewer": {"id": "alice"}}}
SHA1 = "a-hash-of-codegen"
INTROSPECTION = "{ __schema { queryType { name } } }"
UNTRUSTED = ["DOCUMENT_NOT_TRUSTED"]


def digest(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()


def apollo(*documents: tuple[str, str]) -> dict[str, Any]:
    """A manifest as Apollo's generate-persisted-query-manifest writes it."""
    operations = [{"id": id, "name": "X", "type": "query", "body": body} for id, body in documents]
    return {"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations}


# As graphql-codegen's client preset writes it.
CODEGEN = {SHA1: VIEWER, "count": COUNT, "feed": factories.FEED}
APOLLO = apollo((SHA1, VIEWER), ("count", COUNT), ("feed", factories.FEED))

WAYS_TO_NAME: dict[str, dict[str, Any]] = {
    "id": {"documentId": SHA1},
    "hash": {"documentId": f"sha256:{digest(VIEWER)}"},
    "persisted id": {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": SHA1}}},
    "persisted hash": {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest(VIEWER)}}},
    "text": {"query": VIEWER},
    "id and text": {"documentId": SHA1, "query": VIEWER},
}


def codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer["errors"]]


@pytest.fixture(params=[CODEGEN, APOLLO], ids=["codegen", "apollo"])
def trusting(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Settings:
    """The settings of a replica that has a manifest."""
    return settings.model_copy(update={"trusted_documents": written(tmp_path, request.param)})


def written(directory: Path, manifest: object) -> Path:
    path = directory / "documents.json"
    path.write_text(json.dumps(manifest))
    return path


@pytest_asyncio.fixture
async def alice(trusting: Settings) -> AsyncIterator[Client]:
    """Alice at a replica that has a manifest, and executes what else there is."""
    async with serving(trusting) as replica, replica.client("alice") as client:
        yield client


@pytest_asyncio.fixture
async def strict(trusting: Settings) -> AsyncIterator[Client]:
    """Alice at a replica that executes nothing else."""
    only = trusting.model_copy(update={"trusted_documents_only": True})
    async with serving(only) as replica, replica.client("alice") as client:
        yield client


@pytest.mark.parametrize("name", WAYS_TO_NAME)
@pytest.mark.parametrize("way", EVERY_WAY)
async def test_a_trusted_document_has_its_names_everywhere(
    quiet_log: Quiet, strict: Client, way: str, name: str
) -> None:
    assert await EVERY_WAY[way](strict, WAYS_TO_NAME[name]) == ALICE


@pytest.mark.parametrize("way", STREAMS)
async def test_a_trusted_subscription(strict: Client, bob: Client, services: Services, way: str) -> None:
    await factories.recorded(services, "alice", await factories.workflow(bob, "nobody"), 1)

    answer = await STREAMS[way](strict, {"documentId": "feed", "variables": {"after": feed_cursor(0)}})

    assert answer["data"]["executionFeed"]["version"] == 1


@pytest.mark.parametrize("way", EVERY_WAY)
async def test_nothing_else_is_executed_where_only_they_are(
    quiet_log: Quiet, strict: Client, way: str
) -> None:
    persisted = {"version": 1, "sha256Hash": digest("{ viewer { id } }")}
    others: list[dict[str, Any]] = [
        {"query": "{ viewer { id } }"},
        {"query": VIEWER + " "},
        {"query": INTROSPECTION},
        {"query": "{"},
        {"query": "{ viewer { id } }", "extensions": {"persistedQuery": persisted}},
        {"extensions": {"persistedQuery": persisted}},
        {"documentId": "nothing"},
        {"documentId": f"sha256:{digest('{ viewer { id } }')}"},
    ]

    answers = [await EVERY_WAY[way](strict, other) for other in others]

    assert [codes(answer) for answer in answers] == [UNTRUSTED] * len(others)


async def test_a_name_does_not_smuggle_another_text_in(quiet_log: Quiet, strict: Client) -> None:
    for name in ("id", "hash", "persisted id", "persisted hash"):
        answer = await by_post(strict, WAYS_TO_NAME[name] | {"query": INTROSPECTION})
        assert codes(answer) == ["INVALID_INPUT"]


async def test_beside_them_others_are_executed_unless_it_is_said(quiet_log: Quiet, alice: Client) -> None:
    answers = [
        await by_post(alice, request)
        for request in ({"documentId": SHA1}, {"query": "{ viewer { id } }"}, {"documentId": "nothing"})
    ]

    assert answers[:2] == [ALICE, ALICE]
    assert codes(answers[2]) == ["PERSISTED_QUERY_NOT_FOUND"]


async def test_introspection_is_what_the_manifest_has(settings: Settings, tmp_path: Path) -> None:
    path = written(tmp_path, {"schema": INTROSPECTION})
    only = settings.model_copy(update={"trusted_documents": path, "trusted_documents_only": True})

    async with serving(only) as replica, replica.client("alice") as client:
        answer = await by_post(client, {"documentId": "schema"})

    assert answer == {"data": {"__schema": {"queryType": {"name": "Query"}}}}


BAD_MANIFESTS: dict[str, tuple[object, str]] = {
    "invalid": ({"a": VIEWER, "b": "{ nonsense }"}, "'b'"),
    "no document": ({"a": "{"}, "'a'"),
    "empty": ({"a": ""}, "'a'"),
    "no text": ({"a": 1}, "'a'"),
    "no id": ({"": VIEWER}, "''"),
    "a list": ([VIEWER], "JSON object"),
    "a newer version": (apollo() | {"version": 2}, "version 1"),
    "another format": (
        {"format": "other", "version": 1, "operations": []},
        "apollo-persisted-query-manifest",
    ),
    "an entry without a body": (apollo() | {"operations": [{"id": "a"}]}, "`body`"),
    "one id twice": (apollo(("a", VIEWER), ("a", COUNT)), "'a'"),
    "a hash as another's id": ({digest(COUNT): VIEWER, "b": COUNT}, digest(COUNT)),
    "deep": ({"a": "{" * 100_000}, "'a'"),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_a_bad_manifest_stops_the_start_and_says_where(settings: Settings, tmp_path: Path, name: str) -> None:
    manifest, place = BAD_MANIFESTS[name]
    bad = settings.model_copy(update={"trusted_documents": written(tmp_path, manifest)})

    with pytest.raises(InvalidSettings) as refusal:
        main.create_app(bad)

    assert str(refusal.value).startswith("TRUSTED_DOCUMENTS: ")
    assert place in str(refusal.value)


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_a_file_that_is_none_stops_the_start(
    settings: Settings, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "documents.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InvalidSettings) as refusal:
        main.create_app(settings.model_copy(update={"trusted_documents": path}))

    assert str(refusal.value).startswith(f"TRUSTED_DOCUMENTS: {path} ")


async def test_the_command_line_says_it_in_a_line(program: Program, tmp_path: Path) -> None:
    path = written(tmp_path, {"b": "{ nonsense }"})

    bad = await program.once("serve", TRUSTED_DOCUMENTS=str(path))
    lonely = await program.once("serve", TRUSTED_DOCUMENTS_ONLY="true")

    assert (bad.process.returncode, lonely.process.returncode) == (1, 1)
    [line] = bad.said().splitlines()
    assert line.startswith(f"temporal-graphql serve: TRUSTED_DOCUMENTS: document 'b' of {path} is not valid")
    assert lonely.said() == "temporal-graphql serve: TRUSTED_DOCUMENTS_ONLY: needs TRUSTED_DOCUMENTS\n"
