"""Streams over HTTP: they end with their token, show signs of life, are bounded, and end at shutdown."""

import time
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from graphql import ExecutionResult

from app.settings import Settings
from resolvers.context import Services
from schema.streams import EXPIRED, until
from tests import factories
from tests.client import Client, serving
from tests.graphql.test_authentication import signed
from tests.graphql.test_transports import BOTH, MULTIPART, SSE, events_of, parts_of

Quiet = Callable[[], None]

BODY = {"query": factories.FEED}


async def lines_of(client: Client, headers: dict[str, str], count: int) -> list[str]:
    """The first lines of a stream that are not empty."""
    found: list[str] = []
    async with client.http.stream("POST", client.api.url, json=BODY, headers=headers) as response:
        async for line in response.aiter_lines():
            if line:
                found.append(line)
            if len(found) == count:
                break
    return found


@pytest.mark.parametrize("headers", BOTH, ids=["sse", "multipart"])
async def test_a_stream_ends_with_its_token(
    quiet_log: Quiet, alice: Client, services: Services, headers: dict[str, str]
) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    expiry = int(time.time()) + 5

    async with (
        alice.api.bearing(signed(exp=expiry)) as brief,
        brief.http.stream("POST", alice.api.url, json=BODY, headers=headers) as response,
    ):
        await factories.note(services, id)
        if headers == SSE:
            events = [event async for event in events_of(response)]
            assert [name for name, _ in events][-2:] == ["next", "complete"]
            last = events[-2][1]
        else:
            last = [part async for part in parts_of(response)][-1]

    assert time.time() >= expiry
    assert last["data"] is None
    assert [error["extensions"] for error in last["errors"]] == [{"code": "UNAUTHENTICATED"}]


async def test_a_stream_that_never_has_to_wait_ends_with_its_token() -> None:
    async def feed() -> AsyncGenerator[ExecutionResult, None]:
        while True:
            yield ExecutionResult({}, None)

    told = [result async for result in until(feed(), datetime.now(UTC) - timedelta(seconds=1))]

    assert [[error.message for error in result.errors] for result in told] == [[EXPIRED]]


async def test_a_quiet_stream_shows_signs_of_life(quiet_log: Quiet, settings: Settings) -> None:
    restless = settings.model_copy(update={"stream_heartbeat_seconds": 0.05})
    async with serving(restless) as api, api.client("alice") as alice:
        sse = await lines_of(alice, SSE, 3)
        multipart = await lines_of(alice, MULTIPART, 9)

    assert sse == [": ping"] * 3
    assert multipart.count("{}") >= 2


async def test_a_user_has_so_many_streams(quiet_log: Quiet, settings: Settings) -> None:
    narrow = settings.model_copy(update={"max_streams_per_user": 1})
    async with (
        serving(narrow) as api,
        api.client("alice") as alice,
        api.client("bob") as bob,
        alice.http.stream("POST", api.url, json=BODY, headers=SSE) as first,
        bob.http.stream("POST", api.url, json=BODY, headers=SSE) as other,
    ):
        second = await alice.http.post(api.url, json=BODY, headers=MULTIPART)
        query = await alice.post("{ viewer { id } }")
        statuses = (first.status_code, second.status_code, other.status_code)

    assert statuses == (200, 429, 200)
    assert second.json()["errors"][0]["extensions"] == {"code": "RATE_LIMITED"}
    assert int(second.headers["retry-after"]) > 0
    assert query.status_code == 200


async def test_a_place_is_free_again_after_a_stream_and_after_a_refusal(
    quiet_log: Quiet, settings: Settings
) -> None:
    narrow = settings.model_copy(update={"max_streams_per_user": 1})
    async with serving(narrow) as api, api.client("alice") as alice:
        for query in ("{", "{ viewer { id } }", "subscription { nonsense }") * 2:
            response = await alice.http.post(api.url, json={"query": query}, headers=SSE)
            assert response.status_code == 200
        for content in (b"", b"[]", b"null"):
            answer = await alice.http.post(api.url, content=content, headers=SSE)
            assert answer.status_code == 415
        after = await alice.http.post(api.url, json={"query": "{ viewer { id } }"}, headers=SSE)

    assert isinstance(after, httpx.Response)
    assert after.status_code == 200
