"""HTTP requests that no client should send: the right status, JSON with a code, and no side effect."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests import factories
from tests.client import RESPONSE_TYPE, Client
from tests.hostile.conftest import VIEWER

BODY = json.dumps({"query": VIEWER}).encode()
MUTATION = 'mutation { createWorkflow(input: {name: "n", workflowType: "t", taskQueue: "q"}) { __typename } }'
MUTATING = json.dumps({"query": MUTATION}).encode()
SIXTEEN_MB = 16_000_000


async def sent(client: Client, content: Any, **headers: str) -> httpx.Response:
    """A POST with headers of its own, given with underscores for hyphens."""
    named = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return await client.http.post(client.api.url, content=content, headers=named)


def refused(response: httpx.Response) -> tuple[int, set[str]]:
    """The status of a refusal and the codes in it, which is in GraphQL's media type."""
    assert response.headers["content-type"] == RESPONSE_TYPE
    body = response.json()
    assert set(body) == {"errors"}
    return response.status_code, {error["extensions"]["code"] for error in body["errors"]}


async def chunks(size: int) -> AsyncIterator[bytes]:
    """Blanks, without a length told beforehand."""
    for _ in range(size // 50_000):
        yield b" " * 50_000


async def test_large_bodies(bystander: Client) -> None:
    told = await sent(bystander, b" " * SIXTEEN_MB)
    untold = await sent(bystander, chunks(SIXTEEN_MB))

    assert refused(told) == refused(untold) == (413, {"INVALID_INPUT"})


async def test_compressed_bodies_are_not_unpacked(bystander: Client) -> None:
    bomb = gzip.compress(b" " * 500_000_000, 9)[:1_000_000]
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "nonsense"):
        response = await sent(bystander, bomb[:900_000], Content_Encoding=encoding)

        assert refused(response) == (415, {"INVALID_INPUT"})
        assert response.headers["accept-encoding"] == "identity"


async def test_batches(bystander: Client) -> None:
    for count in (1, 2, 1_000):
        response = await sent(bystander, json.dumps([{"query": VIEWER}] * count).encode())

        assert refused(response) == (400, {"INVALID_INPUT"})


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json-patch+json",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "json",
        "",
    ],
)
async def test_content_types_that_a_page_may_send_unasked_do_nothing(bystander: Client, kind: str) -> None:
    before = await factories.holdings(bystander)

    response = await sent(bystander, MUTATING, Content_Type=kind)

    assert refused(response) == (415, {"INVALID_INPUT"})
    assert response.headers["accept-post"] == "application/json"
    assert await factories.holdings(bystander) == before


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=UTF-8",
        'application/json; charset="utf-8"',
    ],
)
async def test_content_types_that_are_json(bystander: Client, kind: str) -> None:
    assert (await sent(bystander, BODY, Content_Type=kind)).status_code == 200


@pytest.mark.parametrize(
    "accept", ["text/html", "image/*", "application/xml", "application/json;q=0", "nonsense"]
)
async def test_what_cannot_be_had_is_refused_before_anything_is_done(bystander: Client, accept: str) -> None:
    before = await factories.holdings(bystander)

    response = await sent(bystander, MUTATING, Accept=accept)

    assert refused(response) == (406, {"INVALID_INPUT"})
    assert await factories.holdings(bystander) == before


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("application/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        (f"{RESPONSE_TYPE}, application/json", RESPONSE_TYPE),
        (f"application/json, {RESPONSE_TYPE}", RESPONSE_TYPE),
        (f"application/json, {RESPONSE_TYPE};q=0.5", "application/json"),
        (f"{RESPONSE_TYPE};q=0, */*", "application/json"),
        (
            "application/graphql+json, application/json, text/event-stream, multipart/mixed",
            "application/json",
        ),
        ("application/json;q=nonsense", "application/json"),
        (", ,;;,application/json;;q", "application/json"),
        ("text/event-stream", "text/event-stream"),
    ],
)
async def test_the_media_type_is_the_one_preferred(bystander: Client, accept: str, given: str) -> None:
    response = await sent(bystander, BODY, Accept=accept)

    assert (response.status_code, response.headers["content-type"]) == (200, given)


async def test_a_subscription_is_a_stream_for_those_who_take_either(bystander: Client) -> None:
    accept = {"Accept": f"{RESPONSE_TYPE}, application/json, text/event-stream"}
    body = {"query": factories.FEED}

    async with bystander.http.stream("POST", bystander.api.url, json=body, headers=accept) as response:
        assert response.headers["content-type"] == "text/event-stream"


async def test_mutations_by_get_do_nothing(bystander: Client) -> None:
    before = await factories.holdings(bystander)

    response = await bystander.http.get(bystander.api.url, params={"query": MUTATION})

    assert refused(response) == (405, {"INVALID_INPUT"})
    assert response.headers["allow"] == "POST"
    assert await factories.holdings(bystander) == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "QUERY", "PROPFIND"])
async def test_other_methods(bystander: Client, method: str) -> None:
    response = await bystander.http.request(method, bystander.api.url, content=MUTATING)

    assert refused(response) == (405, {"INVALID_INPUT"})
    assert response.headers["allow"] == "GET, POST, OPTIONS"


async def test_head_and_options(bystander: Client) -> None:
    head = await bystander.http.head(bystander.api.url, params={"query": VIEWER})
    page = await bystander.http.head(bystander.api.url, headers={"Accept": "text/html"})
    options = await bystander.http.options(bystander.api.url)
    elsewhere = await bystander.http.post(bystander.api.url.replace("/graphql", "/health"))

    assert (head.status_code, head.content) == (405, b"")
    assert (page.status_code, page.content, page.headers["content-type"]) == (
        200,
        b"",
        "text/html; charset=utf-8",
    )
    assert (options.status_code, options.headers["allow"], options.content) == (
        204,
        "GET, POST, OPTIONS",
        b"",
    )
    assert refused(elsewhere) == (405, {"INVALID_INPUT"})
    assert set(elsewhere.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_nobody_is_sent_elsewhere(bystander: Client) -> None:
    """A redirect would name the host that the request names."""
    for path in ("/graphql/", "/health/", "/graphql/assets", "//evil.example/graphql"):
        response = await bystander.http.get(
            bystander.api.url.replace("/graphql", path), headers={"Host": "evil.example"}
        )

        assert (response.status_code, response.headers.get("location")) == (404, None)


async def test_forwarded_headers_change_nothing(bystander: Client) -> None:
    forwarded = {
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=10.0.0.1;host=evil.example",
        "X-HTTP-Method-Override": "DELETE",
        "X-Original-URL": "/metrics",
    }

    response = await bystander.http.post(bystander.api.url, json={"query": VIEWER}, headers=forwarded)

    assert response.json() == {"data": {"viewer": {"id": "alice"}}}
    assert "evil.example" not in f"{response.headers}{response.text}"
