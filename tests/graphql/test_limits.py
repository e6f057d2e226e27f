"""What is too much: refused before it is executed, or given up when it takes too long."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from graphql import build_client_schema, get_introspection_query, print_schema

from app.settings import Settings
from resolvers.context import Services
from tests import factories
from tests.client import Api, Client, Socket, serving
from tests.eventually import eventually
from tests.graphql.transports import EVERY_WAY, Way, by_websocket

Quiet = Callable[[], None]

TOO_DEEP = "{ executions { nodes " + "{ rerunOf " * 9 + "{ id }" + " }" * 9 + " } }"
COSTLY = "query ($n: Int) { executions(first: $n) { nodes { history(first: $n) { nodes { id } } } } }"
LIST = "query ($n: Int) { executions(first: $n) { nodes { id } } }"
VIEWER = "{ viewer { id } }"
COST = {"cost": True}
FILTERED = "query ($f: ExecutionFilter) { executions(filter: $f) { totalCount } }"
BY_STATUS = "query ($s: [ExecutionStatus!]) { executions(filter: {status: $s}) { totalCount } }"


async def over_http(client: Client, query: str, **request: Any) -> tuple[int, Any]:
    response = await client.http.post(client.api.url, json={"query": query, **request})
    return response.status_code, response.json()


async def over_socket(socket: Socket, query: str, **request: Any) -> Any:
    """The one result of an operation, or the payload of its error."""
    await socket.send(id="1", type="subscribe", payload={"query": query, **request})
    message = await socket.receive()
    if message["type"] == "next":
        assert await socket.receive() == {"id": "1", "type": "complete"}
    return message["payload"]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("query", "variables", "limit", "most"),
    [
        (TOO_DEEP, {}, "depth", 10),
        ("{ viewer { " + " ".join(f"a{n}: id" for n in range(31)) + " } }", {}, "aliases", 30),
        ("{" + " viewer { id }" * 21 + " }", {}, "rootFields", 20),
        ("{ viewer { id " + "@skip(if: false) " * 11 + "} }", {}, "directives", 10),
        (COSTLY, {"n": 50}, "cost", 1_000),
        ("{" + " viewer { id }" * 500 + "}", {}, "tokens", 2_000),
        (BY_STATUS, {"s": ["RUNNING"] * 2_001}, "values", 2_000),
        (FILTERED, {"f": {"labels": [{"key": "k", "value": "v"}] * 700}}, "values", 2_000),
        (FILTERED, {"f": {f"key{n}": n for n in range(2_001)}}, "values", 2_000),
    ],
    ids=["depth", "aliases", "root fields", "directives", "cost", "tokens", "values", "objects", "keys"],
)
async def test_an_operation_beyond_a_limit_is_refused(
    quiet_log: Quiet,
    statements: list[str],
    alice: Client,
    *,
    query: str,
    variables: Any,
    limit: str,
    most: int,
) -> None:
    status, body = await over_http(alice, query, variables=variables)
    async with alice.socket() as socket:
        errors = await over_socket(socket, query, variables=variables)

        assert await over_socket(socket, VIEWER) == {"data": {"viewer": {"id": "alice"}}}
    assert (status, body) == (400, {"errors": errors})
    (error,) = errors
    assert error["extensions"] == {"code": "QUERY_TOO_COMPLEX", "limit": limit, "max": most}
    assert f"{most:,} are the most" in error["message"]
    assert statements == []


@pytest.mark.parametrize(
    ("query", "on", "last", "found"),
    [
        ("{ executions { ...F0 } }", "ExecutionConnection", "__typename", "ExecutionConnection"),
        ("mutation { archiveWorkflow(id: 1) { ...F0 } }", "NotFoundError", "code", "NOT_FOUND"),
    ],
    ids=["query", "mutation"],
)
async def test_fragments_that_double_are_executed_in_time(
    alice: Client, query: str, on: str, last: str, found: str
) -> None:
    fragments = "".join(f"fragment F{n} on {on} {{ ...F{n + 1} ...F{n + 1} }}" for n in range(40))

    async with asyncio.timeout(10):
        data = await alice.data(f"{query} {fragments} fragment F40 on {on} {{ {last} }}")

    (answer,) = data.values()
    assert answer == {last: found}


async def test_the_limits_are_settings(settings: Settings) -> None:
    narrow = settings.model_copy(update={"max_depth": 1})

    async with serving(narrow) as api, api.client("alice") as alice:
        assert (await alice.error(VIEWER))["extensions"]["limit"] == "depth"
        assert await alice.data("{ __typename }") == {"__typename": "Query"}


@pytest.mark.parametrize("way", EVERY_WAY.values(), ids=EVERY_WAY)
async def test_a_cost_is_told_to_who_asks(alice: Client, way: Way) -> None:
    asked = {"query": LIST, "variables": {"n": 3}}

    told = await way(alice, {**asked, "extensions": COST})
    plain = await way(alice, asked)

    assert told["extensions"] == {"cost": {"requested": 4, "limit": 1_000}}
    assert told["data"] == plain["data"] == {"executions": {"nodes": []}}
    assert "extensions" not in plain


@pytest.mark.parametrize("way", EVERY_WAY.values(), ids=EVERY_WAY)
async def test_a_cost_beyond_the_limit_is_refused(alice: Client, way: Way) -> None:
    refused = await way(alice, {"query": COSTLY, "variables": {"n": 100}, "extensions": COST})

    (error,) = refused["errors"]
    assert error["extensions"] == {"code": "QUERY_TOO_COMPLEX", "limit": "cost", "max": 1_000}
    assert error["message"].startswith("The operation has 10,201 points of cost: 1,000 are the most.")
    assert refused.get("data") is None
    if way is not by_websocket:
        assert refused["extensions"]["cost"] == {"requested": 10_201, "limit": 1_000}


async def test_a_cost_is_told_over_a_socket_with_the_first_result(alice: Client) -> None:
    async with alice.socket() as socket:
        assert (await over_socket(socket, LIST, extensions=COST))["extensions"]["cost"]["requested"] == 11

        await socket.send(
            id="2",
            type="subscribe",
            payload={"query": "subscription { executionStats { total } }", "extensions": COST},
        )
        first = await socket.receive()
        await factories.workflow(alice, "nobody")

    assert first["payload"]["extensions"] == {"cost": {"requested": 1, "limit": 1_000}}


async def test_few_errors_are_told_of(quiet_log: Quiet, alice: Client) -> None:
    status, body = await over_http(alice, "{ viewer { " + " ".join(f"x{n}" for n in range(50)) + " } }")
    missing = "{" + "".join(f'\na{n}: execution(id: "{n}") {{ id }}' for n in range(8)) + "\n}"
    _, executed = await over_http(alice, missing)
    _, exactly = await over_http(alice, missing.replace("a5", "#").replace("a6", "#").replace("a7", "#"))

    assert (status, len(body["errors"]), len(executed["errors"])) == (400, 5, 5)
    for errors in (body["errors"], executed["errors"]):
        assert [error["extensions"].get("truncated") for error in errors] == [None] * 4 + [True]
        assert errors[4]["message"].endswith("(There are more errors than are told of here.)")
    assert executed["data"] == {f"a{n}": None for n in range(8)}
    assert [error["extensions"] for error in exactly["errors"]] == [{"code": "NOT_FOUND"}] * 5


async def test_values_nested_too_deeply_are_refused(quiet_log: Quiet, alice: Client) -> None:
    deep, query = {"x": nested(200)}, "query ($x: JSON) { queryExecution(id: 1, query: $x) }"

    status, body = await over_http(alice, query, variables=deep)
    got = await alice.http.get(alice.api.url, params={"query": query, "variables": json.dumps(deep)})
    async with alice.socket() as socket:
        errors = await over_socket(socket, query, variables=deep)

        assert await over_socket(socket, VIEWER) == {"data": {"viewer": {"id": "alice"}}}
    assert (status, got.status_code) == (400, 400)
    assert body["errors"] == got.json()["errors"] == errors
    assert errors == [
        {"message": "A value is nested deeper than 64 levels.", "extensions": {"code": "INVALID_INPUT"}}
    ]


async def test_a_frame_that_cannot_be_read_for_its_depth_ends_the_socket(
    quiet_log: Quiet, alice: Client
) -> None:
    async with alice.socket() as socket:
        await socket.connection.send('{"type": "ping", "payload": ' + "[" * 100_000 + "]" * 100_000 + "}")

        assert (await socket.closed())[0] == 4400


async def test_what_is_in_a_json_value_does_not_count(alice: Client) -> None:
    query = "mutation ($i: StartExecutionInput!) { startExecution(input: $i) { ... on Error { code } } }"
    given = {"workflowId": "1", "input": [{"a": n} for n in range(3_000)]}

    assert await alice.data(query, i=given) == {"startExecution": {"code": "NOT_FOUND"}}


async def test_integers_are_not_rounded_but_refused(alice: Client) -> None:
    start = "startExecution(input: {workflowId: 1, input: $x})"
    issues = "... on InvalidInputError { issues { path message } }"
    query = f"mutation ($x: JSON) {{ {start} {{ {issues} }} }}"
    body = f'{{"query": {json.dumps(query)}, "variables": {{"x": {{"n": 18446744073709551617}}}}}}'

    response = await alice.http.post(
        alice.api.url, content=body, headers={"Content-Type": "application/json"}
    )

    assert response.json()["data"]["startExecution"]["issues"] == [
        {"path": "/input/n", "message": "must be an integer of 64 bits at most"}
    ]


async def test_introspection_gives_the_schema(alice: Client) -> None:
    found = await alice.data(get_introspection_query())

    assert "type Execution implements Node" in print_schema(build_client_schema(found))


async def test_introspection_can_be_switched_off(quiet_log: Quiet, settings: Settings) -> None:
    closed = settings.model_copy(update={"introspection": False})
    off = "Introspection is switched off here: ask whoever runs this API for its schema."

    async with serving(closed) as api, api.client("alice") as alice:
        assert (await alice.error("{ __schema { types { name } } }"))["message"] == off
        assert (await alice.error('{ __type(name: "Query") { name } }'))["message"] == off
        assert await alice.data("{ __typename viewer { __typename } }") == {
            "__typename": "Query",
            "viewer": {"__typename": "Viewer"},
        }


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ viewr { id } }", {}),
        ("{ executions(frist: 1) { totalCount } }", {}),
        ("{ executions(filter: {status: [RUNING]}) { totalCount } }", {}),
        (BY_STATUS, {"s": ["RUNING"]}),
        (FILTERED, {"f": {"stauts": []}}),
        ("subscription ($f: ExecutionFilter) { executionUpdated(filter: $f) { id } }", {"f": {"stauts": []}}),
    ],
)
async def test_nothing_is_told_of_the_schema_without_introspection(
    settings: Settings, api: Api, query: str, variables: Any
) -> None:
    closed = settings.model_copy(update={"introspection": False})
    told = []
    async with serving(closed) as other:
        for each in (api, other):
            async with each.client("alice") as alice, alice.socket() as socket:
                payload = await over_socket(socket, query, variables=variables)
                (error,) = payload if isinstance(payload, list) else payload["errors"]
                told.append(error["message"])

    assert "Did you mean" in told[0]
    assert told[1] == "This does not fit the schema: ask whoever runs this API for it."


@asynccontextmanager
async def locked(database_url: str, table: str) -> AsyncIterator[asyncpg.Connection]:
    """A table that nobody else can read or write meanwhile."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield connection
    finally:
        await connection.close()


async def waiting(connection: asyncpg.Connection) -> int:
    """How many statements wait for the lock."""
    count = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize(
    ("table", "query"),
    [
        ("execution", "{ executions { totalCount nodes { id } } viewer { id } }"),
        ("workflow", "{ executions { nodes { id workflow { name } } } }"),
    ],
    ids=["by itself", "in a batch"],
)
async def test_a_query_is_given_up_at_its_deadline(
    quiet_log: Quiet, settings: Settings, services: Services, database_url: str, *, table: str, query: str
) -> None:
    hasty = settings.model_copy(update={"request_timeout_seconds": 2.0})

    async with serving(hasty) as api, api.client("alice") as alice:
        await factories.recorded(services, "alice", await factories.workflow(alice, "nobody"), 1)
        async with locked(database_url, table) as connection:
            body = await alice.answer(query)
            async with alice.socket() as socket:
                payload = await over_socket(socket, query)

            async def cancelled() -> bool:
                return await waiting(connection) == 0

            await eventually(cancelled, timeout_seconds=5)
        assert len((await alice.data(query))["executions"]["nodes"]) == 1
    assert body == payload
    (error,) = body["errors"]
    assert body["data"] is None
    assert error["extensions"] == {"code": "UNAVAILABLE", "retryAfter": 5}
    assert "2 s" in error["message"]


async def test_a_mutation_given_up_has_done_nothing(
    quiet_log: Quiet, settings: Settings, database_url: str
) -> None:
    hasty = settings.model_copy(update={"request_timeout_seconds": 2.0})

    async with serving(hasty) as api, api.client("alice") as alice:
        given = {"workflowId": await factories.workflow(alice, "nobody"), "idempotencyKey": "once"}
        before = await factories.holdings(alice)
        async with locked(database_url, "execution_event"):
            body = await alice.answer(factories.START, input=given)
        after = await factories.holdings(alice)
        again = await alice.data(factories.START, input=given)

    (error,) = body["errors"]
    assert (body["data"], error["extensions"]) == (None, {"code": "UNAVAILABLE"})
    assert "whole or not at all" in error["message"]
    assert before == after
    assert again["startExecution"]["__typename"] == "StartExecutionSuccess"


async def test_a_statement_that_takes_too_long_is_cancelled(
    quiet_log: Quiet, settings: Settings, database_url: str
) -> None:
    hasty = settings.model_copy(update={"statement_timeout_seconds": 0.3})

    async with serving(hasty) as api, api.client("alice") as alice, locked(database_url, "execution"):
        body = await alice.answer("{ executions { nodes { id } } }")

    (error,) = body["errors"]
    assert error["extensions"] == {"code": "UNAVAILABLE", "retryAfter": 1}
    assert error["path"] == ["executions"]
