"""What the log says of a request: one short line for a mistake, with the id that its sender was told."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import orjson
import pytest

from app.auth import mint
from app.logs import Format
from app.paging import feed_cursor
from resolvers.context import Services
from tests import factories
from tests.client import SECRET, Api, Client, Socket, connected
from tests.graphql.test_bad_input import BODIES, OPERATIONS

VIEWER = "{ viewer { id } }"
MISTAKE = 'query Wanted { workflow(id: "7") { id } }'
MAX_LINE_BYTES = 2_000
NO_TRACE = f"00-{'0' * 32}-00f067aa0ba902b7-01"


class Lines(logging.Handler):
    """What the server of this process writes, line by line, as JSON would have it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = Format(as_json=True).format(record)
        assert len(line) < MAX_LINE_BYTES or record.exc_info
        self.found.append(orjson.loads(line))

    def take(self) -> list[dict[str, Any]]:
        taken, self.found = self.found, []
        return taken


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The lines of our own loggers. Ask for it before the replica."""
    handler, loggers = Lines(), [logging.getLogger(name) for name in ("app", "schema", "resolvers")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


async def test_every_response_has_an_id_of_its_own(api: Api, alice: Client) -> None:
    responses = [
        await alice.post(VIEWER),
        await alice.post(VIEWER),
        await alice.post("{ nonsense"),
        await alice.http.post(api.url, content=b"x"),
        await alice.http.put(api.url),
        await alice.http.get(api.url.replace("/graphql", "/nowhere")),
        await alice.http.get(api.url.replace("/graphql", "/health")),
        await alice.http.get(api.url, headers={"Accept": "text/html"}),
        await alice.http.post(api.url, json={"query": VIEWER}, headers={"Authorization": ""}),
        await alice.http.post(api.url, json={"query": "x" * 2_000_000}),
    ]

    ids = [response.headers.get_list("x-request-id") for response in responses]

    assert {len(each) for each in ids} == {1}
    assert len({id for (id,) in ids}) == len(responses)
    assert {len(id) for (id,) in ids} == {32}


async def named(api: Api, **headers: str) -> str:
    """The id of a request with these headers."""
    written = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    async with httpx.AsyncClient(verify=False) as http:
        return str((await http.post(api.url, headers=written)).headers["x-request-id"])


async def test_a_clients_own_id_is_kept(api: Api) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    assert await named(api, X_Request_ID="order-7.retry:2") == "order-7.retry:2"
    assert await named(api, traceparent=trace) == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert await named(api, traceparent=trace, X_Request_ID="mine") == "mine"
    assert await named(api, traceparent=trace, X_Request_ID="not mine") == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "id", ["", "a b", "a" * 129, "a" * 60_000, 'a"b', "é", "{}", "x;y", mint(SECRET, "alice"), "token=x"]
)
async def test_an_id_that_may_stand_in_no_log_is_replaced(api: Api, id: str) -> None:
    assert len(await named(api, X_Request_ID=id)) == 32


@pytest.mark.parametrize(
    "trace", ["", "00-xyz-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736", "00--", NO_TRACE]
)
async def test_a_broken_trace_names_nothing(api: Api, trace: str) -> None:
    id = await named(api, traceparent=trace)

    assert len(id) == 32
    assert id not in trace


async def test_a_mistake_is_one_line_with_the_id_that_its_sender_was_told(
    lines: Lines, alice: Client
) -> None:
    response = await alice.post(MISTAKE)

    (line,) = lines.take()
    del line["time"]
    assert line == {
        "level": "INFO",
        "logger": "schema.errors",
        "message": "Refused an operation",
        "request": response.headers["x-request-id"],
        "code": "NOT_FOUND",
        "errors": 1,
        "operationType": "query",
        "operationName": "Wanted",
    }


async def test_a_good_request_says_nothing(lines: Lines, alice: Client) -> None:
    await alice.data(VIEWER)
    async with alice.socket() as socket:
        await socket.subscribe("1", VIEWER)
        await socket.next()

    assert lines.take() == []


async def test_what_never_became_an_operation_is_one_line_too(lines: Lines, api: Api) -> None:
    async with httpx.AsyncClient(verify=False) as http:
        response = await http.post(api.url, json={"query": VIEWER})

    (line,) = lines.take()
    assert (line["level"], line["message"], line["code"]) == ("INFO", "Refused a request", "UNAUTHENTICATED")
    assert (line["status"], line["request"]) == (401, response.headers["x-request-id"])


async def test_whoever_connects_an_identity_provider_reads_why_its_tokens_are_refused(
    lines: Lines, api: Api
) -> None:
    expired = mint(SECRET, "alice", hours=-1)
    async with api.bearing(expired) as client:
        await client.post(VIEWER)
    async with connected(api) as connection:
        await Socket(connection).send(type="connection_init", payload={"Authorization": f"Bearer {expired}"})
        await Socket(connection).closed()

    over_http, over_websocket = lines.take()
    assert (over_http["status"], over_websocket["closeCode"]) == (401, 4403)
    reasons = {over_http["reason"], over_websocket["reason"]}
    assert reasons == {"The token has expired: get a new one."}


async def test_every_bad_operation_is_one_short_line(
    lines: Lines, alice: Client, subtests: pytest.Subtests
) -> None:
    for name, operation in OPERATIONS.items():
        with subtests.test(name):
            lines.take()
            response = await alice.post(operation.query, operation.variables)

            found = lines.take()
            # Those whose error is a member of their result have been answered, not refused.
            assert len(found) == (1 if "errors" in response.json() else 0)
            assert {line["level"] for line in found} <= {"INFO"}
            assert not any("trace" in line for line in found)
            assert sum(len(orjson.dumps(line)) for line in found) < MAX_LINE_BYTES


async def test_every_bad_body_is_one_short_line(
    lines: Lines, alice: Client, subtests: pytest.Subtests
) -> None:
    for name, (_, body) in BODIES.items():
        with subtests.test(name):
            lines.take()
            await alice.http.post(alice.api.url, content=body, headers={"Content-Type": "application/json"})

            (line,) = lines.take()
            assert line["level"] == "INFO"
            assert len(orjson.dumps(line)) < MAX_LINE_BYTES


async def test_what_a_stream_repeats_is_said_once(lines: Lines, alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    await factories.note(services, id, count=5)
    failing = """
      subscription ($after: String) {
        executionFeed(after: $after) { id execution { history(first: 0) { totalCount } } }
      }
    """

    async with alice.socket() as socket:
        await socket.subscribe("1", failing, {"after": feed_cursor(0)})
        for _ in range(6):
            assert (await socket.receive())["payload"]["errors"]

    (line,) = lines.take()
    assert (line["code"], line["operationType"]) == ("INVALID_INPUT", "subscription")


async def test_a_name_of_any_length_is_cut(lines: Lines, alice: Client) -> None:
    await alice.post(f"query {'N' * 9_000} {{ nonsense }}")

    (line,) = lines.take()
    assert line["operationName"] == "N" * 64


async def test_operations_of_one_socket_have_its_id_and_their_own(lines: Lines, alice: Client) -> None:
    async with alice.socket() as socket:
        told = socket.connection.response
        assert told is not None
        for id in ("a", "b", "c d", "x" * 200):
            await socket.subscribe(id, MISTAKE)
        for _ in range(8):
            await socket.receive()

    found = lines.take()
    assert {line["request"] for line in found} == {told.headers["x-request-id"]}
    operations = sorted((line["operation"] for line in found), key=len)
    assert operations[:2] == ["a", "b"] or operations[:2] == ["b", "a"]
    assert [len(id) for id in operations[2:]] == [32, 32]
    assert len(set(operations)) == 4


async def test_concurrent_requests_do_not_mix_their_ids(lines: Lines, alice: Client) -> None:
    queries = [f"query Q{number} {{ nonsense }}" for number in range(50)]

    responses = await asyncio.gather(*map(alice.post, queries))

    told = {f"Q{number}": response.headers["x-request-id"] for number, response in enumerate(responses)}
    assert {line["operationName"]: line["request"] for line in lines.take()} == told


async def test_a_refused_socket_is_one_line_without_what_it_sent(lines: Lines, api: Api) -> None:
    async with connected(api) as connection:
        await Socket(connection).send(type="a-type-of-my-own")
        code, _ = await Socket(connection).closed()
        assert connection.response is not None
        id = connection.response.headers["x-request-id"]

    (line,) = lines.take()
    assert (line["message"], line["closeCode"], line["request"]) == ("Closed a socket", code, id)
    assert "a-type-of-my-own" not in str(line)


async def test_a_failure_of_ours_is_logged_with_the_id_that_its_user_can_quote(
    lines: Lines, alice: Client, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("ALTER TABLE workflow RENAME TO gone")
    await connection.close()

    literal = '{ workflows(search: "a secret value") { totalCount } }'
    input = {"name": "a secret value", "workflowType": "a secret value", "taskQueue": "q"}
    responses = [
        await alice.post(literal),
        await alice.post(factories.CREATE_WORKFLOW, {"input": input}),
    ]

    found = lines.take()
    assert len(found) == len(responses)
    for line, response in zip(found, responses, strict=True):
        (error,) = response.json()["errors"]
        assert (error["message"], error["extensions"]["code"]) == ("Internal error.", "INTERNAL")
        assert line["level"] == "ERROR"
        assert line["errorId"] == error["extensions"]["errorId"]
        assert line["request"] == response.headers["x-request-id"]
        assert "UndefinedTableError" in line["trace"]
        assert "a secret value" not in str(line)
    assert [line["field"] for line in found] == ["workflows", "createWorkflow"]
