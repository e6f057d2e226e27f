"""Automatic persisted queries: a document is sent once, and named by its hash from then on, by anybody."""

import hashlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from app.paging import feed_cursor
from app.servers import Server
from app.settings import Settings
from resolvers.context import Services
from tests import factories
from tests.client import RESPONSE_TYPE, Api, Client, serving
from tests.eventually import eventually
from tests.graphql.transports import EVERY_WAY, STREAMS, by_get, by_post, by_websocket

Quiet = Callable[[], None]

VIEWER = "query Who { viewer { id } }"
ALICE = {"data": {"viewer": {"id": "alice"}}}


def digest(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()


def named(query: str, hash: str | None = None) -> dict[str, Any]:
    """A request that has the hash of its document alone."""
    persisted = {"version": 1, "sha256Hash": hash or digest(query)}
    return {"extensions": {"persistedQuery": persisted}}


def whole(query: str, hash: str | None = None) -> dict[str, Any]:
    """A request that has both the text and the hash."""
    return {"query": query, **named(query, hash)}


def codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer["errors"]]


NOT_FOUND = ["PERSISTED_QUERY_NOT_FOUND"]


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest_asyncio.fixture
async def stored(redis: Redis, settings: Settings) -> Callable[[], Any]:
    """The keys that this test's replicas have in Redis."""

    async def keys() -> list[bytes]:
        return [key async for key in redis.scan_iter(f"{settings.redis_prefix}:document*")]

    return keys


@pytest_asyncio.fixture
async def carol(settings: Settings, api: Api) -> AsyncIterator[Client]:
    """A third user, at another replica."""
    async with serving(settings) as replica, replica.client("carol") as client:
        yield client


@pytest_asyncio.fixture
async def lonely(settings: Settings, valkey: Server) -> AsyncIterator[Client]:
    """Alice at a replica with that Valkey."""
    own = settings.model_copy(update={"redis_url": valkey.address})
    async with serving(own) as replica, replica.client("alice") as client:
        yield client


@pytest.mark.parametrize("way", EVERY_WAY)
async def test_a_document_is_sent_once_and_named_from_then_on(
    quiet_log: Quiet, alice: Client, way: str
) -> None:
    ask = EVERY_WAY[way]

    unknown = await ask(alice, named(VIEWER))
    sent = await ask(alice, whole(VIEWER))
    known = await ask(alice, named(VIEWER))

    assert codes(unknown) == NOT_FOUND
    assert unknown["errors"][0]["message"] == "PersistedQueryNotFound"
    assert unknown.get("data") is None
    assert (sent, known) == (ALICE, ALICE)


async def test_a_subscription_can_be_named_too(quiet_log: Quiet, alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    await factories.recorded(services, "alice", workflow_id, 1)
    variables = {"variables": {"after": feed_cursor(0)}}
    await by_websocket(alice, whole(factories.FEED) | variables)

    answers = [await stream(alice, named(factories.FEED) | variables) for stream in STREAMS.values()]

    assert [answer["data"]["executionFeed"]["version"] for answer in answers] == [1, 1, 1]


async def test_variables_and_the_operation_name_go_with_the_hash(alice: Client) -> None:
    query = "query A($n: Int) { executions(first: $n) { totalCount } } query B { viewer { id } }"
    await by_post(alice, whole(query) | {"operationName": "B"})

    assert await by_get(alice, named(query) | {"operationName": "B"}) == ALICE
    counted = await by_get(alice, named(query) | {"operationName": "A", "variables": {"n": 1}})
    assert counted == {"data": {"executions": {"totalCount": 0}}}


@pytest.mark.parametrize(
    ("accept", "status"), [(RESPONSE_TYPE, 400), ("application/json", 200), ("*/*", 200)]
)
async def test_the_refusal_is_one_that_clients_fall_back_on(alice: Client, accept: str, status: int) -> None:
    headers = {"Accept": accept}
    posted = await alice.http.post(alice.api.url, json=named(VIEWER), headers=headers)
    params = {"extensions": posted.request.content.decode().removeprefix('{"extensions":').removesuffix("}")}
    got = await alice.http.get(alice.api.url, params=params, headers=headers)

    for response in (posted, got):
        assert response.status_code == status
        assert codes(response.json()) == NOT_FOUND


async def test_what_one_user_sent_another_names_at_another_replica(alice: Client, carol: Client) -> None:
    await by_post(alice, whole(VIEWER))

    assert await by_post(carol, named(VIEWER)) == {"data": {"viewer": {"id": "carol"}}}
    assert await by_post(carol, {"documentId": f"sha256:{digest(VIEWER)}"}) == {
        "data": {"viewer": {"id": "carol"}}
    }


async def test_a_hash_lets_nobody_do_what_they_may_not(alice: Client, api: Api) -> None:
    mine = await factories.workflow(alice, "nobody")
    query = "mutation ($id: ID!) { archiveWorkflow(id: $id) { ... on Error { code } } }"
    variables = {"variables": {"id": mine}}
    await by_post(alice, whole(query) | {"variables": {"id": "no such thing"}})

    async with api.client("alice", "workflows:read") as reader, api.client("bob") as bob:
        unscoped = await by_post(reader, named(query) | variables)
        foreign = await by_post(bob, named(query) | variables)
        got = await by_get(alice, named(query) | variables)

    assert [answer["data"]["archiveWorkflow"]["code"] for answer in (unscoped, foreign)] == ["FORBIDDEN"] * 2
    assert codes(got) == ["INVALID_INPUT"]
    async with httpx.AsyncClient() as http:
        assert (await http.post(api.url, json=named(query))).status_code == 401
    workflow = await alice.data("query ($id: ID!) { workflow(id: $id) { archivedAt } }", id=mine)
    assert workflow == {"workflow": {"archivedAt": None}}


@pytest.mark.parametrize("way", EVERY_WAY)
async def test_a_hash_of_another_text_is_refused_and_nothing_is_kept(
    quiet_log: Quiet, alice: Client, stored: Callable[[], Any], way: str
) -> None:
    answer = await EVERY_WAY[way](alice, whole(VIEWER, digest("{ viewer { id } }")))

    assert codes(answer) == ["INVALID_INPUT"]
    assert "hash" in answer["errors"][0]["message"]
    assert await stored() == []


@pytest.mark.parametrize(
    "persisted",
    [
        "text",
        7,
        [],
        {},
        {"version": 2, "sha256Hash": digest(VIEWER)},
        {"version": 1, "sha256Hash": digest(VIEWER).upper()},
        {"version": 1, "sha256Hash": digest(VIEWER) + "\n"},
        {"version": 1, "sha256Hash": "../" * 21 + "a"},
        {"version": 1, "sha256Hash": [digest(VIEWER)]},
        {"version": 1, "sha256Hash": None},
    ],
)
async def test_what_is_no_hash_is_a_mistake(
    quiet_log: Quiet, alice: Client, stored: Callable[[], Any], persisted: object
) -> None:
    extensions = {"extensions": {"persistedQuery": persisted}}

    answers = [
        await EVERY_WAY[way](alice, request | extensions)
        for way in ("post", "websocket")
        for request in ({}, {"query": VIEWER})
    ]

    assert [codes(answer) for answer in answers] == [["INVALID_INPUT"]] * 4
    assert await stored() == []


async def test_what_is_no_document_is_not_kept(
    quiet_log: Quiet, alice: Client, stored: Callable[[], Any]
) -> None:
    for query in ("{", "{ nonsense }", "query ($a: Nothing) { viewer { id } }"):
        assert set(codes(await by_websocket(alice, whole(query)))) == {"INVALID_INPUT"}
        assert codes(await by_websocket(alice, named(query))) == NOT_FOUND

    assert await stored() == []


async def test_a_long_document_is_executed_but_not_kept(
    settings: Settings, stored: Callable[[], Any]
) -> None:
    narrow = settings.model_copy(update={"persisted_query_max_bytes": 100})
    query = VIEWER + "#" * 100

    async with serving(narrow) as replica, replica.client("alice") as alice:
        assert await by_post(alice, whole(query)) == ALICE
        assert codes(await by_post(alice, named(query))) == NOT_FOUND

    assert await stored() == []


async def test_a_user_has_the_newest_few_kept_and_costs_nobody_else_theirs(
    settings: Settings, stored: Callable[[], Any]
) -> None:
    narrow = settings.model_copy(update={"persisted_queries_per_user": 3})
    own = [f"query Q{number} {{ viewer {{ id }} }}" for number in range(6)]

    async with serving(narrow) as here, serving(narrow) as there, AsyncExitStack() as stack:
        bob = await stack.enter_async_context(here.client("bob"))
        alice = await stack.enter_async_context(here.client("alice"))
        elsewhere = await stack.enter_async_context(there.client("alice"))
        await by_post(bob, whole(VIEWER))
        for query in (VIEWER, *own, VIEWER):
            await by_post(alice, whole(query))
        known = [query for query in (VIEWER, *own) if await by_post(elsewhere, named(query)) == ALICE]

    assert known == [VIEWER, *own[3:]]
    # Four documents, and the two lists that they are counted by.
    assert len(await stored()) == 6


@pytest.mark.parametrize("sent", [False, True], ids=["named", "sent again"])
async def test_a_document_lives_on_while_it_is_used(
    settings: Settings, alice: Client, carol: Client, redis: Redis, sent: bool
) -> None:
    await by_post(alice, whole(VIEWER))
    document = f"{settings.redis_prefix}:document:{digest(VIEWER)}"
    counted = f"{settings.redis_prefix}:documents-of:alice"
    for key in (document, counted):
        assert 0 < await redis.ttl(key) <= settings.persisted_query_ttl_seconds
        await redis.expire(key, 60)

    await by_post(carol, whole(VIEWER) if sent else named(VIEWER))

    for key in (document, counted):
        assert await redis.ttl(key) > 60
    await redis.delete(document)
    async with serving(settings) as replica, replica.client("alice") as later:
        assert codes(await by_post(later, named(VIEWER))) == NOT_FOUND


async def test_a_document_that_is_remembered_is_asked_for_again_in_time(
    settings: Settings, redis: Redis
) -> None:
    # A quarter of a moment: it is stale as soon as it is kept.
    brief = settings.model_copy(update={"persisted_query_ttl_seconds": 60.0})
    async with serving(brief) as replica, replica.client("alice") as alice:
        await by_post(alice, whole(VIEWER))
        await redis.delete(f"{settings.redis_prefix}:document:{digest(VIEWER)}")
        assert await by_post(alice, named(VIEWER)) == ALICE

    fleeting = settings.model_copy(update={"persisted_query_ttl_seconds": 1e-3})
    async with serving(fleeting) as replica, replica.client("alice") as alice:
        await by_post(alice, whole(VIEWER))
        await eventually(lambda: _forgotten(alice))


async def _forgotten(client: Client) -> bool:
    return "errors" in await by_post(client, named(VIEWER))


async def test_another_deployment_knows_none_of_it(settings: Settings, alice: Client) -> None:
    await by_post(alice, whole(VIEWER))
    other = settings.model_copy(update={"redis_prefix": f"{settings.redis_prefix}-other"})

    async with serving(other) as replica, replica.client("alice") as elsewhere:
        assert codes(await by_post(elsewhere, named(VIEWER))) == NOT_FOUND


async def test_what_stands_under_a_hash_but_is_not_its_text_is_not_executed(
    quiet_log: Quiet, settings: Settings, alice: Client, redis: Redis
) -> None:
    key = f"{settings.redis_prefix}:document:{digest(VIEWER)}"
    for planted in (b"alice\n{ __typename }", b"", b"\xff\n\xff", VIEWER.encode()):
        await redis.set(key, planted)
        assert codes(await by_post(alice, named(VIEWER))) == NOT_FOUND


@pytest.mark.parametrize("way", EVERY_WAY)
async def test_switched_off_it_says_so_and_takes_the_text(
    quiet_log: Quiet, settings: Settings, stored: Callable[[], Any], way: str
) -> None:
    off = settings.model_copy(update={"automatic_persisted_queries": False})

    async with serving(off) as replica, replica.client("alice") as alice:
        refused = await EVERY_WAY[way](alice, named(VIEWER))
        sent = await EVERY_WAY[way](alice, whole(VIEWER))

    assert codes(refused) == ["PERSISTED_QUERY_NOT_SUPPORTED"]
    assert refused["errors"][0]["message"] == "PersistedQueryNotSupported"
    assert sent == ALICE
    assert await stored() == []


async def test_with_valkey_killed_documents_are_unknown_and_everything_works(
    quiet_log: Quiet, lonely: Client, valkey: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="app.valkey")
    remembered = "{ viewer { id } }"
    await by_post(lonely, whole(remembered))

    await valkey.kill()
    down = [await by_post(lonely, each) for each in (named(VIEWER), whole(VIEWER), named(VIEWER))]
    assert [codes(each) for each in (down[0], down[2])] == [NOT_FOUND] * 2
    assert down[1] == ALICE
    assert await by_post(lonely, named(remembered)) == ALICE
    await valkey.start()

    async def kept_again() -> bool:
        return await by_post(lonely, whole(VIEWER)) == await by_post(lonely, named(VIEWER))

    await eventually(kept_again)
    told = [record.getMessage() for record in caplog.records if "keeping documents" in record.getMessage()]
    assert [each.partition("documents ")[2].split()[0].rstrip(":") for each in told] == ["stopped", "works"]


async def test_a_valkey_that_hangs_is_not_waited_for(
    quiet_log: Quiet, lonely: Client, valkey: Server
) -> None:
    assert valkey.pid
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        answers = [await by_post(lonely, each) for each in (named(VIEWER), whole(VIEWER))]
    finally:
        os.kill(valkey.pid, signal.SIGCONT)

    assert codes(answers[0]) == NOT_FOUND
    assert answers[1] == ALICE
