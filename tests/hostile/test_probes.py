"""What the scanner graphql-cop probes for, in requests of our own: a closed replica has none of it.

An open one, as for development, has what is meant to be there: introspection, suggestions, the playground.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.settings import Settings
from tests.client import Api, Client, serving
from tests.hostile.introspection import CIRCLE, INTROSPECTION

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = ("/graphql", "/graphiql", "/playground", "/console")


@pytest.fixture
def closed(settings: Settings) -> Settings:
    """The settings of a replica that shows nothing of itself."""
    return settings.model_copy(update={"introspection": False, "playground": False})


@pytest_asyncio.fixture
async def stranger(closed: Settings) -> AsyncIterator[Client]:
    """A user of that replica."""
    async with serving(closed) as api, api.client("mallory") as client:
        yield client


async def refused(client: Client, query: str) -> str:
    """The whole answer to a document that is not executed."""
    response = await client.post(query)
    assert 400 <= response.status_code < 500
    assert "data" not in response.json()
    return response.text


async def test_alias_overloading(stranger: Client) -> None:
    await refused(stranger, "{" + " ".join(f"alias{n}: __typename" for n in range(101)) + "}")


async def test_batches(stranger: Client) -> None:
    response = await stranger.http.post(stranger.api.url, json=[{"query": "{ __typename }"}] * 10)

    assert response.status_code == 400


async def test_field_duplication(stranger: Client) -> None:
    await refused(stranger, "{" + "__typename " * 500 + "}")


async def test_directive_overloading(stranger: Client) -> None:
    said = await refused(stranger, "{ __typename " + "@aa" * 10 + " }")

    assert said.count('"message"') <= 5


async def test_circular_fragments(stranger: Client) -> None:
    await refused(stranger, "{ viewer { ...A } } fragment A on Viewer { ...B } fragment B on Viewer { ...A }")


async def test_introspection(stranger: Client) -> None:
    for query in (
        INTROSPECTION,
        CIRCLE,
        "{ __schema { types { name } } }",
        '{ __type(name: "Query") { name } }',
    ):
        await refused(stranger, query)
    assert await stranger.data("{ __typename viewer { __typename } }")


async def test_field_suggestions(stranger: Client) -> None:
    for query in (
        "{ __schema { directive } }",
        "{ viewr { id } }",
        "{ workflow(ide: 1) { id } }",
        "{ viewer { ide } }",
    ):
        assert "Did you mean" not in await refused(stranger, query)


async def test_mutations_by_get(stranger: Client) -> None:
    response = await stranger.http.get(stranger.api.url, params={"query": "mutation { __typename }"})

    assert 400 <= response.status_code < 500


async def test_forms(stranger: Client) -> None:
    for kind in ({"data": {"query": "{ __typename }"}}, {"files": {"query": (None, "{ __typename }")}}):
        response = await stranger.http.post(stranger.api.url, **kind)

        assert response.status_code == 415


async def test_queries_by_get_need_a_header_which_no_foreign_page_can_send(stranger: Client) -> None:
    async with httpx.AsyncClient() as browser:
        response = await browser.get(stranger.api.url, params={"query": "{ __typename }"})

    assert response.status_code == 401


async def test_the_playground(stranger: Client) -> None:
    async with httpx.AsyncClient(headers=BROWSER) as browser:
        pages = [await browser.get(stranger.api.url.replace("/graphql", path)) for path in PAGES]

    assert [page.status_code for page in pages] == [401, 404, 404, 404]
    assert not any("<html" in page.text for page in pages)


@pytest.mark.parametrize(
    "query", ["{ __typename }", "qwerty cop { abc }", "{ execution(id: 7) { id } }", "{"]
)
async def test_traces_and_exceptions(stranger: Client, query: str) -> None:
    answer = await stranger.answer(query)

    extensions: list[dict[str, Any]] = [error["extensions"] for error in answer.get("errors", [])]
    assert "extensions" not in answer
    assert all("code" in each and not {"exception", "stacktrace", "tracing"} & {*each} for each in extensions)
    assert "traceback" not in str(answer).lower()


async def test_an_open_replica_shows_what_it_should(api: Api, alice: Client) -> None:
    assert (await alice.data(INTROSPECTION))["__schema"]["types"]
    assert "Did you mean 'viewer'?" in (await alice.error("{ viewr { id } }"))["message"]
    async with httpx.AsyncClient(headers=BROWSER) as browser:
        assert "<html" in (await browser.get(api.url)).text
