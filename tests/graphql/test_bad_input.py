"""What no client should send: a clear refusal each time, no alarm in the log, and the server goes on."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
import websockets

from app.paging import feed_cursor
from app.settings import Settings
from resolvers.context import Services
from tests import factories
from tests.client import RESPONSE_TYPE, Api, Client, Socket, connected, serving

Quiet = Callable[[], None]

MISSING = str(uuid4())
BIG = "x" * 2_000_000
LONG_NUMBER = "1" + "0" * 5_000
START = (
    'mutation { startExecution(input: {workflowId: "%s", input: %s}) { __typename ... on Error { code } } }'
)
CREATE = """
mutation ($name: String! = "n", $schema: JSON) {
  createWorkflow(input: {name: $name, workflowType: "t", taskQueue: "q", inputSchema: $schema}) {
    __typename ... on Error { code }
  }
}
"""
CANCEL = 'mutation { cancelExecution(input: {id: "%s", reason: %s}) { __typename ... on Error { code } } }'
INVALID = {"INVALID_INPUT"}


def nested_history(levels: int) -> str:
    field = "{ id }"
    for _ in range(levels):
        field = f"{{ history {{ nodes {{ execution {field} }} }} }}"
    return f'{{ execution(id: "{MISSING}") {field} }}'


@dataclass(frozen=True)
class Operation:
    """An operation that is refused wherever it comes from, with a code."""

    query: str
    code: str = "INVALID_INPUT"
    variables: dict[str, Any] = field(default_factory=dict)


OPERATIONS = {
    "unknown field": Operation("{ nonsense }"),
    "unknown argument": Operation("{ executions(limit: 3) { totalCount } }"),
    "unknown type": Operation("query ($x: Nonsense) { viewer { id } }"),
    "unknown fragment": Operation("{ viewer { ...Nothing } }"),
    "fragment cycle": Operation(
        "{ viewer { ...A } } fragment A on Viewer { ...B } fragment B on Viewer { ...A }"
    ),
    "unknown directive": Operation("{ viewer { id @nonsense } }"),
    "no subfields": Operation("{ viewer }"),
    "subfields of a scalar": Operation("{ viewer { id { x } } }"),
    "variable not defined": Operation("{ workflow(id: $id) { id } }"),
    "variable missing": Operation("query ($id: ID!) { workflow(id: $id) { id } }"),
    "variable of a wrong type": Operation(
        "query ($n: Int) { executions(first: $n) { totalCount } }", variables={"n": "ten"}
    ),
    "variable beyond 32 bits": Operation(
        "query ($n: Int) { executions(first: $n) { totalCount } }", variables={"n": 2**31}
    ),
    "variable of a wrong form": Operation(
        "query ($id: ID!) { workflow(id: $id) { id } }", variables={"id": {"a": [1]}}
    ),
    "input of a wrong form": Operation(
        "mutation ($input: CreateWorkflowInput!) { createWorkflow(input: $input) { __typename } }",
        variables={"input": [1]},
    ),
    "input with an unknown key": Operation(
        "mutation ($input: CreateWorkflowInput!) { createWorkflow(input: $input) { __typename } }",
        variables={"input": {"name": "n", "workflowType": "t", "taskQueue": "q", "owner": "bob"}},
    ),
    "syntax error": Operation("{ viewer { id }"),
    "only blanks": Operation("   "),
    "only a comment": Operation("# nothing"),
    "only a fragment": Operation("fragment A on Viewer { id }"),
    "NUL in the document": Operation("{ viewer { id } }\x00"),
    "a type definition": Operation("type Query { x: Int }"),
    "two operations and no name": Operation("query A { viewer { id } } query B { viewer { id } }"),
    "lone surrogate in a literal": Operation('{ workflow(id: "\\ud800") { id } }'),
    "lone surrogate in braces": Operation(START % (MISSING, '"\\u{D800}"')),
    "unfinished escape in a literal": Operation('{ workflow(id: "\\u12") { id } }'),
    "page of none": Operation("{ executions(first: 0) { totalCount } }"),
    "page of 101": Operation("{ workflows(first: 101) { totalCount } }"),
    "garbage cursor": Operation('{ executions(after: "garbage") { totalCount } }'),
    "cursor with NUL": Operation('{ executions(after: "\\u0000") { totalCount } }'),
    "cursor of another list": Operation(f'{{ executions(after: "{feed_cursor(1)}") {{ totalCount }} }}'),
    "unknown id": Operation(f'{{ execution(id: "{MISSING}") {{ id }} }}', "NOT_FOUND"),
    "id of no form": Operation('{ execution(id: "order 7") { id } }', "NOT_FOUND"),
    "id a number": Operation("{ workflow(id: 7) { id } }", "NOT_FOUND"),
    "id with NUL": Operation('{ workflow(id: "\\u0000") { id } }', "NOT_FOUND"),
    "id in braces": Operation(f'{{ workflow(id: "{{{MISSING}}}") {{ id }} }}', "NOT_FOUND"),
    "moment of no form": Operation('{ executions(filter: {createdAt: {from: "today"}}) { totalCount } }'),
    "moment of no calendar": Operation(
        '{ executions(filter: {createdAt: {from: "2026-13-01T00:00:00Z"}}) { totalCount } }'
    ),
    "moment before all": Operation(
        '{ executions(filter: {createdAt: {from: "0001-01-01T00:00:00+14:00"}}) { totalCount } }'
    ),
    "number without end": Operation(START % (MISSING, "1e999")),
    "number of 5,000 digits": Operation(START % (MISSING, LONG_NUMBER)),
    "fraction of 5,000 digits": Operation(START % (MISSING, f"0.{LONG_NUMBER}e-5001"), "NOT_FOUND"),
    "480 levels of fields": Operation(nested_history(160), "QUERY_TOO_COMPLEX"),
    "5,000 brackets": Operation(START % (MISSING, "[" * 2_500 + "]" * 2_500), "QUERY_TOO_COMPLEX"),
    "900 brackets": Operation(START % (MISSING, "[" * 450 + "]" * 450), "QUERY_TOO_COMPLEX"),
    "5,000 braces": Operation("{" * 2_500 + "}" * 2_500),
    "10,000 aliases": Operation(
        "{ " + " ".join(f"a{n}: __typename" for n in range(10_000)) + " }", "QUERY_TOO_COMPLEX"
    ),
}


async def unharmed(client: Client) -> Callable[[], Awaitable[None]]:
    """A check that the server still answers and that nothing of the client's has changed since."""
    before = await factories.holdings(client)

    async def check() -> None:
        assert await factories.holdings(client) == before

    return check


def codes(body: dict[str, Any]) -> set[str]:
    """The codes of what was refused: of the errors, or of the one result that is an error as data."""
    if errors := body.get("errors"):
        assert all(isinstance(error["message"], str) for error in errors)
        return {error["extensions"]["code"] for error in errors}
    (result,) = body["data"].values()
    return {result["code"]}


async def test_operations_over_http(quiet_log: Quiet, alice: Client, subtests: pytest.Subtests) -> None:
    check = await unharmed(alice)
    for name, operation in OPERATIONS.items():
        with subtests.test(name):
            response = await alice.post(operation.query, operation.variables)

            await check()
            assert response.status_code in (200, 400)
            assert response.headers["content-type"] == RESPONSE_TYPE
            assert codes(response.json()) == {operation.code}
            assert len(response.content) < 20_000
            quiet_log()


async def test_operations_over_websocket(quiet_log: Quiet, alice: Client, subtests: pytest.Subtests) -> None:
    async with alice.socket() as socket:
        for name, operation in OPERATIONS.items():
            with subtests.test(name):
                await socket.subscribe(name, operation.query, operation.variables)
                message = await socket.receive()
                if message["type"] == "next":
                    body = message["payload"]
                    assert await socket.receive() == {"id": name, "type": "complete"}
                else:
                    assert message["type"] == "error"
                    body = {"errors": message["payload"]}

                assert message["id"] == name
                assert codes(body) == {operation.code}
                await socket.subscribe("after", "{ viewer { id } }")
                assert await socket.next("after") == {"viewer": {"id": "alice"}}
                assert await socket.receive() == {"id": "after", "type": "complete"}
                quiet_log()


BODIES: dict[str, tuple[int, bytes]] = {
    "a text": (400, b'"x"'),
    "a number": (400, b"1"),
    "null": (400, b"null"),
    "a list": (400, b"[]"),
    "a batch": (400, b'[{"query": "{ viewer { id } }"}]'),
    "nothing": (400, b""),
    "cut off": (400, b'{"query": "{ viewer'),
    "no JSON": (400, b"query { viewer { id } }"),
    "invalid UTF-8": (400, b'{"query": "{ viewer { id } } # \xff"}'),
    "another encoding": (400, '{"query": "{ viewer { id } }"}'.encode("utf-16")),
    "NaN": (400, b'{"query": "{ viewer { id } }", "variables": {"x": NaN}}'),
    "Infinity": (400, b'{"query": "{ viewer { id } }", "variables": {"x": -Infinity}}'),
    "number without end": (400, b'{"query": "{ viewer { id } }", "variables": {"x": 1e999}}'),
    "number of 5,000 digits": (
        400,
        b'{"query": "{ viewer { id } }", "variables": {"x": %s}}' % LONG_NUMBER.encode(),
    ),
    "lone surrogate": (400, b'{"query": "{ viewer { id } }", "variables": {"x": "\\ud800"}}'),
    "100,000 levels": (
        400,
        b'{"query": "{ viewer { id } }", "variables": {"x": %s%s}}' % (b"[" * 100_000, b"]" * 100_000),
    ),
    "2 MB": (413, json.dumps({"query": CREATE, "variables": {"schema": BIG}}).encode()),
    "query missing": (400, b"{}"),
    "query null": (400, b'{"query": null}'),
    "query empty": (400, b'{"query": ""}'),
    "query a number": (400, b'{"query": 7}'),
    "query a list": (400, b'{"query": ["{ viewer { id } }"]}'),
    "variables a list": (400, b'{"query": "{ viewer { id } }", "variables": []}'),
    "variables a text": (400, b'{"query": "{ viewer { id } }", "variables": "{}"}'),
    "operationName a number": (400, b'{"query": "{ viewer { id } }", "operationName": 7}'),
    "operationName unknown": (400, b'{"query": "query A { viewer { id } }", "operationName": "B"}'),
    "extensions a list": (400, b'{"query": "{ viewer { id } }", "extensions": []}'),
    "a subscription": (400, b'{"query": "subscription { executionFeed { id } }"}'),
}


@pytest.mark.parametrize("accept", [RESPONSE_TYPE, "application/json"])
async def test_bodies(quiet_log: Quiet, alice: Client, subtests: pytest.Subtests, accept: str) -> None:
    headers = {"Content-Type": "application/json", "Accept": accept}
    check = await unharmed(alice)
    for name, (status, body) in BODIES.items():
        with subtests.test(name):
            response = await alice.http.post(alice.api.url, content=body, headers=headers)

            await check()
            assert response.status_code == status
            assert response.headers["content-type"] == RESPONSE_TYPE
            assert codes(response.json()) == INVALID
            assert set(response.json()) == {"errors"}
            quiet_log()


async def test_a_body_of_unknown_length_is_bounded_too(quiet_log: Quiet, alice: Client) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 50_000

    check = await unharmed(alice)

    response = await alice.http.post(
        alice.api.url, content=chunks(), headers={"Content-Type": "application/json"}
    )

    await check()
    assert response.status_code == 413
    assert codes(response.json()) == INVALID


async def test_a_client_that_leaves_in_the_middle_of_its_body(quiet_log: Quiet, alice: Client) -> None:
    check = await unharmed(alice)
    head = f"POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
    kinds = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"

    _, writer = await asyncio.open_connection("127.0.0.1", alice.api.port)
    writer.write(f'{head}{kinds}{{"query": '.encode())
    await writer.drain()
    await check()
    writer.close()
    await writer.wait_closed()

    await check()


async def test_content_types(quiet_log: Quiet, alice: Client, subtests: pytest.Subtests) -> None:
    body = b'{"query": "{ viewer { id } }"}'
    for kind in ("text/plain", "application/graphql", "application/x-www-form-urlencoded", "json", "", None):
        with subtests.test(str(kind)):
            headers = {} if kind is None else {"Content-Type": kind}

            response = await alice.http.post(alice.api.url, content=body, headers=headers)

            assert response.status_code == 415
            assert codes(response.json()) == INVALID


async def test_multipart_uploads_are_not_taken(quiet_log: Quiet, alice: Client) -> None:
    response = await alice.http.post(
        alice.api.url, data={"operations": '{"query": "{ viewer { id } }"}', "map": "{}"}, files={"0": b"x"}
    )

    assert response.status_code == 415
    assert codes(response.json()) == INVALID


async def test_methods(quiet_log: Quiet, alice: Client) -> None:
    for method in ("PUT", "DELETE", "PATCH", "HEAD"):
        response = await alice.http.request(method, alice.api.url, json={"query": "{ viewer { id } }"})

        assert response.status_code == 405
        assert response.headers["allow"] == "GET, POST, OPTIONS"


GETS = {
    "a mutation": urlencode({"query": CREATE}),
    "a subscription": "query=subscription{executionFeed{id}}",
    "variables no JSON": "query={viewer{id}}&variables={",
    "variables a list": "query={viewer{id}}&variables=[]",
    "variables a number": "query={viewer{id}}&variables=7",
    "variables not UTF-8": "query={viewer{id}}&variables=%FF",
    "extensions no JSON": "query={viewer{id}}&extensions=x",
    "query empty": "query=",
    "query not UTF-8": "query=%FF%FE",
    "query with NUL": "query={viewer{id}}%00",
    "operationName unknown": "query=query%20A{viewer{id}}&operationName=B",
    "a syntax error": "query={",
    "nothing": "",
    "nonsense": "%&&==&?",
}


async def test_get(quiet_log: Quiet, alice: Client, subtests: pytest.Subtests) -> None:
    check = await unharmed(alice)
    for name, query in GETS.items():
        with subtests.test(name):
            response = await alice.http.get(f"{alice.api.url}?{query}")

            await check()
            assert 400 <= response.status_code < 500
            assert response.headers["content-type"] == RESPONSE_TYPE
            assert codes(response.json()) == INVALID
            quiet_log()


async def test_text_that_cannot_be_kept_is_refused_in_every_place(
    quiet_log: Quiet, alice: Client, subtests: pytest.Subtests
) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    rows: dict[str, tuple[str, dict[str, Any]]] = {
        "NUL in a name": (CREATE, {"name": "a\x00b"}),
        "NUL in a schema": (CREATE, {"schema": {"a": ["\x00"]}}),
        "NUL in a schema's key": (CREATE, {"schema": {"\x00": 1}}),
        "NUL in an input": (START % (workflow_id, '"a\\u0000b"'), {}),
    }
    check = await unharmed(alice)
    for name, (query, variables) in rows.items():
        with subtests.test(name):
            response = await alice.post(query, variables)

            await check()
            assert codes(response.json()) == INVALID
            quiet_log()


async def test_nul_in_a_reason_is_dropped(quiet_log: Quiet, alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)

    answer = await alice.data(CANCEL % (id, '"a\\u0000b"'))

    assert answer == {"cancelExecution": {"__typename": "CancelExecutionSuccess"}}
    history = await alice.data(f'{{ execution(id: "{id}") {{ history {{ nodes {{ message }} }} }} }}')
    assert history["execution"]["history"]["nodes"][1]["message"] == "Cancelled before it was started: ab"


FRAMES: dict[str, tuple[int, str | bytes]] = {
    "no JSON": (4400, "hello"),
    "empty": (4400, ""),
    "cut off": (4400, '{"type": "pi'),
    "a list": (4400, "[]"),
    "a number": (4400, "1"),
    "null": (4400, "null"),
    "a text": (4400, '"ping"'),
    "an empty object": (4400, "{}"),
    "type a number": (4400, '{"type": 1}'),
    "type a list": (4400, '{"type": ["ping"]}'),
    "type unknown": (4400, '{"type": "nonsense"}'),
    "type of the server": (4400, '{"type": "next", "id": "1", "payload": {}}'),
    "legacy protocol": (4400, '{"type": "start", "id": "1", "payload": {"query": "{ viewer { id } }"}}'),
    "binary": (4400, b'{"type": "ping"}'),
    "NaN": (4400, '{"type": "ping", "payload": {"x": NaN}}'),
    "lone surrogate": (4400, '{"type": "ping", "payload": {"x": "\\ud800"}}'),
    "100,000 levels": (4400, '{"type": "ping", "payload": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    "id missing": (4400, '{"type": "subscribe", "payload": {"query": "{ viewer { id } }"}}'),
    "id a number": (4400, '{"type": "subscribe", "id": 1, "payload": {"query": "{ viewer { id } }"}}'),
    "id an object": (4400, '{"type": "subscribe", "id": {}, "payload": {"query": "{ viewer { id } }"}}'),
    "id a list": (4400, '{"type": "subscribe", "id": [], "payload": {"query": "{ viewer { id } }"}}'),
    "id null": (4400, '{"type": "subscribe", "id": null, "payload": {"query": "{ viewer { id } }"}}'),
    "id to complete an object": (4400, '{"type": "complete", "id": {}}'),
    "id to complete missing": (4400, '{"type": "complete"}'),
    "payload missing": (4400, '{"type": "subscribe", "id": "1"}'),
    "payload null": (4400, '{"type": "subscribe", "id": "1", "payload": null}'),
    "payload a list": (4400, '{"type": "subscribe", "id": "1", "payload": []}'),
    "payload empty": (4400, '{"type": "subscribe", "id": "1", "payload": {}}'),
    "query a number": (4400, '{"type": "subscribe", "id": "1", "payload": {"query": 1}}'),
    "query null": (4400, '{"type": "subscribe", "id": "1", "payload": {"query": null}}'),
    "variables a list": (
        4400,
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ viewer { id } }", "variables": []}}',
    ),
    "operationName a number": (
        4400,
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ viewer { id } }", "operationName": 7}}',
    ),
    "2 MB": (1009, json.dumps({"type": "ping", "payload": {"x": BIG}})),
}
INITS: dict[str, tuple[int, str]] = {
    "payload a list": (4400, '{"type": "connection_init", "payload": []}'),
    "payload a text": (4400, '{"type": "connection_init", "payload": "Bearer x"}'),
    "payload a number": (4400, '{"type": "connection_init", "payload": 7}'),
}


async def test_frames(quiet_log: Quiet, alice: Client, subtests: pytest.Subtests) -> None:
    check = await unharmed(alice)
    for name, (code, frame) in FRAMES.items():
        with subtests.test(name):
            async with alice.socket() as socket:
                await socket.connection.send(frame)
                closed, reason = await socket.closed()

            await check()
            assert (closed, bool(reason)) == (code, True)
            quiet_log()


async def test_a_text_frame_that_is_no_text(quiet_log: Quiet, alice: Client) -> None:
    async with alice.socket() as socket:
        await socket.connection.send(b'{"type": "ping", "payload": {"x": "\xff"}}', text=True)

        assert (await socket.closed())[0] == 1007


async def test_frames_before_the_init(quiet_log: Quiet, alice: Client, subtests: pytest.Subtests) -> None:
    subscribes = '"type": "subscribe"'
    rows = {
        **INITS,
        **{name: row for name, row in FRAMES.items() if subscribes not in str(row[1])},
    }
    for name, (code, frame) in rows.items():
        with subtests.test(name):
            async with connected(alice.api) as connection:
                await connection.send(frame)
                closed, _ = await Socket(connection).closed()

            assert closed == code
            quiet_log()


async def test_what_the_protocol_allows_is_no_mistake(quiet_log: Quiet, alice: Client) -> None:
    async with alice.socket() as socket:
        await socket.send(type="pong", payload={"x": 1})
        await socket.send(type="complete", id="never begun")
        await socket.send(type="ping")
        assert await socket.receive() == {"type": "pong"}
        await socket.send(
            type="subscribe",
            id="é" * 1_000,
            payload={
                "query": "{ viewer { id } }",
                "variables": None,
                "operationName": None,
                "extensions": {},
            },
            more="of it",
        )
        assert await socket.next("é" * 1_000) == {"viewer": {"id": "alice"}}


async def test_the_id_of_a_running_operation_is_taken(
    quiet_log: Quiet, alice: Client, services: Services
) -> None:
    async with alice.socket() as socket:
        await socket.subscribe("1", factories.FEED)
        await socket.subscribe("1", factories.FEED)

        code, reason = await socket.closed()

    assert (code, reason) == (4409, "Subscriber for 1 already exists")


async def test_mistakes_in_some_operations_leave_the_others_on_the_socket_alone(
    quiet_log: Quiet, alice: Client, services: Services
) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)

    async with alice.socket() as socket:
        await socket.subscribe("good", factories.FEED, {"after": feed_cursor(0)})
        assert (await socket.next("good"))["executionFeed"]["version"] == 1
        for number, query in enumerate(
            ["{", "{ nonsense }", "", "query A { __typename } query B { __typename }"]
        ):
            await socket.subscribe(str(number), query)
            message = await socket.receive()
            assert (message["type"], message["id"]) == ("error", str(number))
            assert {error["extensions"]["code"] for error in message["payload"]} == INVALID
        await factories.note(services, id)

        assert (await socket.next("good"))["executionFeed"]["version"] == 2


async def test_one_socket_carries_a_bounded_number_of_operations(
    quiet_log: Quiet, settings: Settings, services: Services
) -> None:
    narrow = settings.model_copy(update={"max_operations_per_socket": 2})

    async with serving(narrow) as api, api.client("alice") as alice, alice.socket() as socket:
        workflow_id = await factories.workflow(alice, "nobody")
        (id,) = await factories.recorded(services, "alice", workflow_id, 1)
        for name in ("first", "second"):
            await socket.subscribe(name, factories.FEED, {"after": feed_cursor(0)})
            assert (await socket.next(name))["executionFeed"]["version"] == 1
        await socket.subscribe("third", factories.FEED)
        refused = await socket.receive()
        await socket.send(id="second", type="complete")
        await socket.subscribe("fourth", factories.FEED, {"after": feed_cursor(0)})
        await socket.next("fourth")
        await factories.note(services, id)
        told = {(await socket.receive())["id"] for _ in range(2)}

    assert (refused["type"], refused["id"]) == ("error", "third")
    assert told == {"first", "fourth"}


async def test_another_protocol_is_not_spoken(quiet_log: Quiet, api: Api) -> None:
    protocol = websockets.Subprotocol("graphql-ws")
    async with websockets.connect(api.ws_url, subprotocols=[protocol]) as connection:
        closed = await Socket(connection).closed()

    assert closed[0] == 4406


async def test_unknown_paths(quiet_log: Quiet, api: Api) -> None:
    async with httpx.AsyncClient(verify=False) as http:
        response = await http.get(api.url.replace("/graphql", "/nothing"))

    assert response.status_code == 404
    assert codes(response.json()) == INVALID
