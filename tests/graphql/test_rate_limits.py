"""Rate limits: so much in a minute for each user, at all replicas together, and never for want of Redis."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from app.errors import RateLimited
from app.rates import Rates
from app.servers import Server
from app.settings import Settings
from app.valkey import Valkey
from resolvers.context import Services
from schema.mutation import Mutation
from schema.rates import Chargeable
from tests import factories
from tests.client import RESPONSE_TYPE, Client, serving
from tests.eventually import eventually
from tests.graphql.transports import EVERY_WAY, by_post, by_websocket
from tests.processes.commands import PATIENCE_SECONDS, Program

Quiet = Callable[[], None]
Elapse = Callable[[float], Awaitable[None]]

CREATE = """
    mutation {{ {name}: createWorkflow(input: {{name: "n", workflowType: "t", taskQueue: "q"}}) {{
        __typename ... on Error {{ code message }} ... on RateLimitedError {{ retryAfter }}
    }} }}
"""
ONE = CREATE.format(name="a")
DONE = ["CreateWorkflowSuccess"]
VIEWER = {"query": "{ viewer { id } }"}


def several(*names: str) -> str:
    """A mutation of several fields at its root."""
    fields = (CREATE.format(name=name).partition("{")[2].rpartition("}")[0] for name in names)
    return "mutation {" + "".join(fields) + "}"


def codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer["errors"]]


@pytest.fixture
def narrow(settings: Settings) -> Settings:
    """The settings of a replica that lets a user do three mutations in a minute."""
    return settings.model_copy(update={"mutations_per_minute": 3})


@pytest.fixture
def thrifty(settings: Settings) -> Settings:
    """The settings of a replica that lets a user ask for twenty viewers in a minute."""
    return settings.model_copy(update={"cost_per_minute": 20})


@asynccontextmanager
async def user(settings: Settings, name: str = "alice") -> AsyncIterator[Client]:
    async with serving(settings) as replica, replica.client(name) as client:
        yield client


@pytest_asyncio.fixture
async def elapse(redis_url: str, settings: Settings) -> AsyncIterator[Elapse]:
    """Lets some seconds go by for whatever is counted."""
    async with Redis.from_url(redis_url) as redis:

        async def shorten(seconds: float) -> None:
            async for key in redis.scan_iter(f"{settings.redis_prefix}:rate*"):
                await redis.pexpire(key, await redis.pttl(key) - int(seconds * 1_000))

        yield shorten


async def kinds(client: Client, query: str = ONE) -> list[str]:
    """What each field of a mutation answers."""
    return [result["__typename"] for result in (await client.data(query)).values()]


async def test_a_mutation_too_many_answers_so_and_is_not_done(quiet_log: Quiet, narrow: Settings) -> None:
    async with user(narrow) as alice:
        done = [await kinds(alice) for _ in range(3)]
        before = await factories.holdings(alice)
        response = await alice.post(ONE)
        after = await factories.holdings(alice)

    assert done == [["CreateWorkflowSuccess"]] * 3
    refusal = response.json()["data"]["a"]
    assert (refusal["__typename"], refusal["code"]) == ("RateLimitedError", "RATE_LIMITED")
    assert 0 < refusal["retryAfter"] <= 120
    assert f"wait {refusal['retryAfter']} s" in refusal["message"]
    assert (response.status_code, response.headers["retry-after"]) == (200, str(refusal["retryAfter"]))
    assert after == before


async def test_of_an_operation_that_is_too_much_nothing_is_done(quiet_log: Quiet, narrow: Settings) -> None:
    async with user(narrow) as alice:
        assert await kinds(alice, several("a", "b")) == ["CreateWorkflowSuccess"] * 2
        before = await factories.holdings(alice)
        assert await kinds(alice, several("a", "b")) == ["RateLimitedError"] * 2
        assert await factories.holdings(alice) == before
        # What was refused did not count.
        assert await kinds(alice) == ["CreateWorkflowSuccess"]
        assert await kinds(alice) == ["RateLimitedError"]


async def test_fields_count_where_fragments_bring_them(narrow: Settings) -> None:
    fields = several("a", "b", "c", "d").removeprefix("mutation")
    query = f"mutation {{ ...All ...All ... {{ ...All }} }} fragment All on Mutation {fields}"

    async with user(narrow.model_copy(update={"mutations_per_minute": 4})) as alice:
        assert await kinds(alice, query) == ["CreateWorkflowSuccess"] * 4
        assert await kinds(alice) == ["RateLimitedError"]


async def test_what_alone_is_more_than_the_limit_takes_all_of_it(narrow: Settings) -> None:
    async with user(narrow) as alice:
        assert await kinds(alice, several("a", "b", "c", "d")) == ["CreateWorkflowSuccess"] * 4
        assert await kinds(alice) == ["RateLimitedError"]


async def test_replicas_count_together_and_users_apart(narrow: Settings) -> None:
    async with user(narrow) as alice, user(narrow) as elsewhere, user(narrow, "bob") as bob:
        for client in (alice, elsewhere, alice):
            assert await kinds(client) == ["CreateWorkflowSuccess"]
        assert [await kinds(client) for client in (alice, elsewhere)] == [["RateLimitedError"]] * 2
        assert await kinds(bob) == ["CreateWorkflowSuccess"]


async def test_after_the_wait_it_is_done(
    narrow: Settings, elapse: Callable[[float], Awaitable[None]]
) -> None:
    async with user(narrow) as alice:
        assert await kinds(alice, several("a", "b", "c")) == ["CreateWorkflowSuccess"] * 3
        waits = []
        for _ in range(3):
            waits.append((await alice.data(ONE))["a"]["retryAfter"])
            await elapse(waits[-1] - 2)
            assert await kinds(alice) == ["RateLimitedError"]
            await elapse(2)
            assert await kinds(alice) == ["CreateWorkflowSuccess"]

    # The three of the first minute leave the window one by one, all through the second.
    assert 55 <= waits[0] <= 60
    assert all(15 <= wait <= 20 for wait in waits[1:])


@pytest.mark.parametrize("way", EVERY_WAY)
async def test_a_query_too_much_is_refused_everywhere(quiet_log: Quiet, thrifty: Settings, way: str) -> None:
    async with user(thrifty) as alice:
        answers = [await EVERY_WAY[way](alice, VIEWER) for _ in range(21)]

    assert answers[:20] == [{"data": {"viewer": {"id": "alice"}}}] * 20
    assert codes(answers[20]) == ["RATE_LIMITED"]
    assert answers[20].get("data") is None
    assert 0 < answers[20]["errors"][0]["extensions"]["retryAfter"] <= 120


@pytest.mark.parametrize(("accept", "status"), [(RESPONSE_TYPE, 429), ("application/json", 200)])
async def test_the_refusal_over_http(quiet_log: Quiet, thrifty: Settings, accept: str, status: int) -> None:
    async with user(thrifty) as alice:
        for _ in range(20):
            await by_post(alice, VIEWER)
        response = await alice.http.post(alice.api.url, json=VIEWER, headers={"Accept": accept})

    [error] = response.json()["errors"]
    assert response.status_code == status
    assert response.headers["retry-after"] == str(error["extensions"]["retryAfter"])
    assert "data" not in response.json()


async def test_a_subscription_is_charged_when_it_begins(thrifty: Settings, services: Services) -> None:
    async with user(thrifty) as alice:
        for _ in range(20):
            await by_post(alice, VIEWER)
        answer = await by_websocket(alice, {"query": factories.FEED})

    assert codes(answer) == ["RATE_LIMITED"]


async def test_what_is_not_executed_costs_nothing(thrifty: Settings) -> None:
    async with user(thrifty) as alice:
        for _ in range(30):
            assert codes(await by_post(alice, {"query": "{ nonsense }"})) == ["INVALID_INPUT"]
        assert "errors" not in await by_post(alice, VIEWER)


async def test_a_costly_mutation_answers_with_the_refusal_too(thrifty: Settings) -> None:
    async with user(thrifty) as alice:
        for _ in range(20):
            await by_post(alice, VIEWER)

        assert await kinds(alice) == ["RateLimitedError"]


async def granted(rates: Rates) -> int:
    """What a replica lets a user do and spend, three at a time; 0 for nothing."""
    try:
        await rates.charge("alice", mutations=3, cost=3)
    except RateLimited:
        return 0
    return 3


@pytest.mark.parametrize("limited", ["mutations_per_minute", "cost_per_minute"])
async def test_replicas_take_portions_and_grant_nearly_all_of_it(valkey: Server, limited: str) -> None:
    async with Valkey(valkey.address, prefix="test", wait_seconds=5.0) as shared:
        limits = {"mutations_per_minute": 0, "cost_per_minute": 0, limited: 1_000}
        replicas = [Rates(shared, **limits) for _ in range(2)]
        total = 0
        while step := sum([await granted(rates) for rates in replicas]):
            total += step
        asked = (await shared.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]

    assert 980 <= total <= 1_000
    # Of 333 operations one in three or four asked, and the last ones for what was left.
    assert asked < 130


@pytest.mark.parametrize("limit", [100, 1_200])
async def test_a_flood_gets_the_limit_and_no_more(valkey: Server, settings: Settings, limit: int) -> None:
    async with Valkey(valkey.address, prefix="test", wait_seconds=settings.redis_wait_seconds) as shared:
        rates = Rates(shared, mutations_per_minute=limit, cost_per_minute=0)

        async def done() -> bool:
            try:
                await rates.charge("alice", mutations=1, cost=1)
            except RateLimited:
                return False
            return True

        flood = await asyncio.gather(*(done() for _ in range(5_000)))

    assert sum(flood) == limit


async def test_zero_is_without_limit(settings: Settings) -> None:
    free = settings.model_copy(update={"mutations_per_minute": 0, "cost_per_minute": 0})

    async with user(free) as alice:
        assert {tuple(await kinds(alice)) for _ in range(50)} == {("CreateWorkflowSuccess",)}


async def test_with_valkey_killed_everything_is_done_and_the_log_says_so(
    quiet_log: Quiet, narrow: Settings, valkey: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="app.valkey")
    async with user(narrow.model_copy(update={"redis_url": valkey.address})) as alice:
        assert await kinds(alice, several("a", "b", "c")) == ["CreateWorkflowSuccess"] * 3
        assert await kinds(alice) == ["RateLimitedError"]

        await valkey.kill()
        assert {tuple(await kinds(alice)) for _ in range(10)} == {("CreateWorkflowSuccess",)}
        await valkey.start()

        async def limited_again() -> bool:
            return await kinds(alice) == ["RateLimitedError"]

        await eventually(limited_again)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    rates = [(level, message) for level, message in told if "limiting rates" in message]
    assert [level for level, _ in rates] == ["WARNING", "INFO"]


async def test_two_processes_count_together_and_go_on_alone(program: Program, valkey: Server) -> None:
    environment = {"REDIS_URL": valkey.address, "MUTATIONS_PER_MINUTE": "4"}
    async with (
        program.serve(**environment) as here,
        program.serve(**environment) as there,
        here.api.client("alice") as alice,
        there.api.client("alice") as elsewhere,
    ):

        async def limited() -> bool:
            return [await kinds(each) for each in (alice, elsewhere)] == [["RateLimitedError"]] * 2

        assert [await kinds(each, several("a", "b")) for each in (alice, elsewhere)] == [DONE * 2] * 2
        assert await limited()
        await valkey.kill()
        for _ in range(10):
            assert [await kinds(each) for each in (alice, elsewhere)] == [DONE] * 2
        await valkey.start()
        await eventually(limited, PATIENCE_SECONDS)

        for replica in (here, there):
            told = [line for line in replica.said().splitlines() if "limiting rates" in line]
            assert ["stopped" in line for line in told] == [True, False]


async def test_a_valkey_that_hangs_holds_nobody_up(
    quiet_log: Quiet, narrow: Settings, valkey: Server
) -> None:
    async with user(narrow.model_copy(update={"redis_url": valkey.address})) as alice:
        await kinds(alice)
        assert valkey.pid
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            assert {tuple(await kinds(alice)) for _ in range(10)} == {("CreateWorkflowSuccess",)}
        finally:
            os.kill(valkey.pid, signal.SIGCONT)


def test_every_mutation_can_be_refused() -> None:
    fields = Mutation.__strawberry_definition__.fields  # type: ignore[attr-defined]  # strawberry sets it

    assert len(fields) == 9
    for field in fields:
        assert [type(each) for each in field.extensions] == [Chargeable], field.python_name
