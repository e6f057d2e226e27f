"""What a client sends is in no log, but for the ids that it gives to requests and operations."""

import json
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from app import auth
from tests import factories
from tests.canary import CANARY
from tests.client import SECRET, Api, Client, connected
from tests.processes.commands import Program

MAX_LOG_BYTES = 2_000
FORGED = auth.mint(f"{CANARY}-and-32-bytes-of-some-other-key", CANARY)

DOCUMENTS = [
    f'{{ workflow(id: "{CANARY}") {{ id }} }}',
    f'{{ workflow(id: ["{CANARY}"]) {{ id }} }}',
    f'{{ executions(first: "{CANARY}") {{ totalCount }} }}',
    f'{{ executions(after: "{CANARY}") {{ totalCount }} }}',
    f'query ($a: Int = "{CANARY}") {{ viewer {{ id }} }}',
    f'{{ viewer(secret: "{CANARY}") {{ id }} }}',
    f'{{ viewer {{ id @include(if: "{CANARY}") }} }}',
    f'{{ viewer {{ id }} }} "{CANARY}',
    f"# {CANARY}\n{{",
    f'mutation {{ cancelExecution(input: {{id: "1", reason: "{CANARY}", x: 1}}) {{ __typename }} }}',
    f'{{ queryExecution(id: "{uuid4()}", query: "{CANARY}", arguments: ["{CANARY}"]) }}',
]
VARIABLES: list[tuple[str, Any]] = [
    ("query ($v: Int) { executions(first: $v) { totalCount } }", CANARY),
    ("query ($v: ID!) { workflow(id: $v) { id } }", [CANARY]),
    (
        factories.CREATE_WORKFLOW.replace("$input", "$v"),
        {"name": CANARY, "taskQueue": "\x00", "workflowType": CANARY},
    ),
    (factories.CREATE_WORKFLOW.replace("$input", "$v"), {CANARY: 1}),
    (factories.START.replace("$input", "$v"), {"workflowId": CANARY, "input": CANARY}),
]


async def send_documents(client: Client) -> None:
    """The canary in documents and in variables."""
    for document in DOCUMENTS:
        assert (await client.post(document)).status_code < 500
    for query, value in VARIABLES:
        assert (await client.post(query, {"v": value})).status_code < 500


async def send_requests(api: Api, client: Client) -> None:
    """The canary in the parts of a request."""
    for content in (f'{{"query": "{CANARY}', f'["{CANARY}"]', f'{{"query": ["{CANARY}"]}}', CANARY):
        await client.http.post(api.url, content=content, headers={"Content-Type": "application/json"})
    await client.http.post(api.url, content=CANARY, headers={"Content-Type": CANARY})
    await client.http.get(f"{api.url}?query={quote(DOCUMENTS[0])}&variables={CANARY}&operationName={CANARY}")
    await client.http.request(CANARY.upper(), api.url)
    await client.http.get(api.url.replace("/graphql", f"/{CANARY}"))


async def send_tokens(api: Api) -> None:
    """The canary in tokens that are none."""
    async with httpx.AsyncClient(verify=False) as http:
        for token in (FORGED, CANARY, f"{CANARY}.{CANARY}.{CANARY}"):
            headers = {"Authorization": f"Bearer {token}", "Cookie": f"session={token}", "X-A": token}
            response = await http.post(api.url, json={"query": "{ __typename }"}, headers=headers)
            assert response.status_code == 401
            async with connected(api, f"?token={token}") as connection:
                await connection.send(json.dumps({"type": "connection_init", "payload": {CANARY: token}}))
                await connection.wait_closed()


async def send_frames(client: Client) -> None:
    """The canary in the messages of a WebSocket."""
    for document in DOCUMENTS:
        async with client.socket() as socket:
            await socket.subscribe("1", document)
            await socket.receive()
    for frame in (CANARY, json.dumps({"type": CANARY}), json.dumps({"type": "subscribe", "id": [CANARY]})):
        async with client.socket() as socket:
            await socket.connection.send(frame)
            await socket.closed()


async def test_nothing_that_a_client_sends_is_in_the_log(program: Program) -> None:
    async with program.serve() as replica, replica.api.client("alice") as alice:
        before = len(replica.said())

        await send_documents(alice)
        await send_requests(replica.api, alice)
        await send_tokens(replica.api)
        await send_frames(alice)

        said = replica.said()[before:]
    assert CANARY not in said
    assert SECRET not in said
    assert max(map(len, said.splitlines()), default=0) <= MAX_LOG_BYTES
