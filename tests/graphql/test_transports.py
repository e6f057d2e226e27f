"""The ways in besides JSON over POST and WebSocket: SSE, multipart, GET, and what each answers with."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from app.paging import feed_cursor
from resolvers.context import Services
from tests import factories
from tests.client import RESPONSE_TYPE, Api, Client

Quiet = Callable[[], None]

SSE = {"Accept": "text/event-stream"}
MULTIPART = {"Accept": "multipart/mixed;subscriptionSpec=1.0, application/json"}
VIEWER = "{ viewer { id } }"
ALICE = {"data": {"viewer": {"id": "alice"}}}
BOTH = [SSE, MULTIPART]


async def events_of(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """The SSE events of a response: `(event, data)`; comments are left out."""
    event = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value) if value else None


async def parts_of(response: httpx.Response) -> AsyncIterator[Any]:
    """The JSON parts of a multipart response; heartbeats are left out."""
    async for line in response.aiter_lines():
        if line.startswith("{") and line != "{}":
            yield json.loads(line)["payload"]


async def results(client: Client, headers: dict[str, str], query: str, /, **variables: Any) -> list[Any]:
    """All results of a subscription over SSE or multipart, which must end by itself."""
    body = {"query": query, "variables": variables}
    async with client.http.stream("POST", client.api.url, json=body, headers=headers) as response:
        assert response.status_code == 200
        if headers == MULTIPART:
            return [part async for part in parts_of(response)]
        found = [event async for event in events_of(response)]
    assert found[-1] == ("complete", None)
    assert {event for event, _ in found[:-1]} <= {"next"}
    return [data for _, data in found[:-1]]


@pytest.mark.parametrize("headers", BOTH, ids=["sse", "multipart"])
async def test_an_execution_is_followed_to_its_end(
    alice: Client, worker: str, tracker: None, headers: dict[str, str]
) -> None:
    started = await factories.paid(alice, worker)

    found = await results(alice, headers, factories.EVENTS, id=started["id"])

    told = [result["data"]["executionEvents"] for result in found]
    assert [event["version"] for event in told] == [1, 2, 3, 4, 5, 6]
    assert told[-1]["type"] == "EXECUTION_COMPLETED"
    rest = await factories.events(alice, started["id"], after=told[2]["cursor"])
    assert [event["id"] for event in rest] == [event["id"] for event in told[3:]]


@pytest.mark.parametrize("headers", BOTH, ids=["sse", "multipart"])
async def test_events_come_when_they_happen(
    quiet_log: Quiet, alice: Client, services: Services, headers: dict[str, str]
) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    body = {"query": factories.FEED, "variables": {"after": feed_cursor(0)}}

    async with alice.http.stream("POST", alice.api.url, json=body, headers=headers) as response:
        told = parts_of(response) if headers == MULTIPART else (data async for _, data in events_of(response))
        versions = []
        for _ in range(3):
            versions.append((await anext(told))["data"]["executionFeed"]["version"])
            await factories.note(services, id)

    assert versions == [1, 2, 3]


async def test_each_stream_has_the_media_type_of_its_protocol(alice: Client, services: Services) -> None:
    body = {"query": factories.FEED, "variables": {"after": feed_cursor(0)}}
    workflow_id = await factories.workflow(alice, "nobody")
    await factories.recorded(services, "alice", workflow_id, 1)

    types = []
    for headers in BOTH:
        async with alice.http.stream("POST", alice.api.url, json=body, headers=headers) as response:
            types.append(response.headers.get_list("content-type"))

    assert types == [
        ["text/event-stream"],
        ["multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"],
    ]


async def test_queries_and_mutations_may_come_over_sse(alice: Client) -> None:
    input = {"name": "n", "workflowType": "t", "taskQueue": "q"}

    found = [
        await results(alice, SSE, VIEWER),
        await results(alice, SSE, factories.CREATE_WORKFLOW, input=input),
    ]

    assert found[0] == [ALICE]
    assert found[1][0]["data"]["createWorkflow"]["__typename"] == "CreateWorkflowSuccess"


async def test_a_subscription_over_sse_may_be_a_get(alice: Client, services: Services) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    await alice.data(factories.CANCEL, input={"id": id})
    params = {"query": factories.EVENTS, "variables": json.dumps({"id": id})}

    async with alice.http.stream("GET", alice.api.url, params=params, headers=SSE) as response:
        found = [event async for event in events_of(response)]

    assert [name for name, _ in found] == ["next", "next", "complete"]


@pytest.mark.parametrize("headers", BOTH, ids=["sse", "multipart"])
async def test_a_subscription_that_is_refused_says_why_and_ends(
    quiet_log: Quiet, alice: Client, bob: Client, services: Services, headers: dict[str, str]
) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    rows = {
        factories.EVENTS: "FORBIDDEN",
        "subscription { nonsense }": "INVALID_INPUT",
        "subscription {": "INVALID_INPUT",
        "": "INVALID_INPUT",
        'subscription { executionFeed(after: "garbage") { id } }': "INVALID_INPUT",
    }

    refusals = {query: await results(bob, headers, query, id=id) for query in rows}

    for query, code in rows.items():
        (result,) = refusals[query]
        assert result.get("data") is None
        assert [error["extensions"]["code"] for error in result["errors"]] == [code]


async def test_a_mutation_over_multipart_or_get_does_nothing(quiet_log: Quiet, alice: Client) -> None:
    before = await factories.holdings(alice)
    mutation = """
        mutation { createWorkflow(input: {name: "n", workflowType: "t", taskQueue: "q"}) { __typename } }
    """

    over_multipart = await results(alice, MULTIPART, mutation)
    over_get = await alice.http.get(alice.api.url, params={"query": mutation}, headers=SSE)

    assert [error["extensions"]["code"] for error in over_multipart[0]["errors"]] == ["INVALID_INPUT"]
    assert '"code":"INVALID_INPUT"' in over_get.text
    assert await factories.holdings(alice) == before


@pytest.mark.parametrize("headers", BOTH, ids=["sse", "multipart"])
async def test_nobody_follows_without_a_token(quiet_log: Quiet, api: Api, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(headers=headers) as http:
        response = await http.post(api.url, json={"query": factories.FEED})

    assert response.status_code == 401
    assert response.headers["content-type"] == RESPONSE_TYPE
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}


async def test_a_follower_who_leaves_alarms_nobody(
    quiet_log: Quiet, alice: Client, services: Services
) -> None:
    workflow_id = await factories.workflow(alice, "nobody")
    (id,) = await factories.recorded(services, "alice", workflow_id, 1)
    body = {"query": factories.FEED, "variables": {"after": feed_cursor(0)}}

    for headers in BOTH:
        async with alice.http.stream("POST", alice.api.url, json=body, headers=headers) as response:
            await anext(response.aiter_lines())
        await factories.note(services, id, count=10)

    assert await alice.data(VIEWER) == ALICE["data"]


@pytest.mark.parametrize(
    ("accept", "type", "refusal"),
    [
        (RESPONSE_TYPE, RESPONSE_TYPE, 400),
        (f"{RESPONSE_TYPE}, application/json;q=0.9", RESPONSE_TYPE, 400),
        ("application/json", "application/json", 200),
        ("*/*", "application/json", 200),
        (None, "application/json", 200),
    ],
)
async def test_the_client_chooses_the_media_type_and_with_it_the_status_of_a_refusal(
    alice: Client, accept: str | None, type: str, refusal: int
) -> None:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {alice.token}"}) as http:
        http.headers.pop("accept")
        if accept:
            http.headers["accept"] = accept

        fine, partial, refused, unreadable = [
            await http.post(alice.api.url, json={"query": query})
            for query in (VIEWER, '{ execution(id: "7") { id } }', "{ nonsense }", "{")
        ]

    responses = (fine, partial, refused, unreadable)
    assert [response.headers.get_list("content-type") for response in responses] == [[type]] * 4
    assert [response.status_code for response in responses] == [200, 200, refusal, refusal]
    assert fine.json() == ALICE
    assert partial.json()["data"] == {"execution": None}
    assert [set(response.json()) for response in (refused, unreadable)] == [{"errors"}] * 2


async def test_a_query_may_be_a_get(alice: Client) -> None:
    query = "query A($first: Int) { executions(first: $first) { totalCount } } query B { viewer { id } }"

    found = [
        await alice.http.get(alice.api.url, params={"query": VIEWER}),
        await alice.http.get(alice.api.url, params={"query": query, "operationName": "B"}),
        await alice.http.get(
            alice.api.url, params={"query": query, "operationName": "A", "variables": '{"first": 1}'}
        ),
    ]

    assert [response.status_code for response in found] == [200] * 3
    assert [response.json()["data"] for response in found] == [
        {"viewer": {"id": "alice"}},
        {"viewer": {"id": "alice"}},
        {"executions": {"totalCount": 0}},
    ]


async def test_one_of_several_operations_is_chosen_by_its_name(alice: Client) -> None:
    query = "query A { a: __typename } query B { b: __typename }"

    async with alice.socket() as socket:
        await socket.send(id="1", type="subscribe", payload={"query": query, "operationName": "B"})
        over_websocket = await socket.next()
    over_http = await alice.http.post(alice.api.url, json={"query": query, "operationName": "B"})

    assert over_websocket == {"b": "Query"}
    assert over_http.json() == {"data": {"b": "Query"}}


async def test_queries_and_mutations_may_come_over_websocket(alice: Client) -> None:
    input = {"name": "n", "workflowType": "t", "taskQueue": "q"}

    async with alice.socket() as socket:
        await socket.subscribe("1", VIEWER)
        viewer = [await socket.receive() for _ in range(2)]
        await socket.subscribe("1", factories.CREATE_WORKFLOW, {"input": input})
        created = await socket.next()

    assert viewer == [
        {"id": "1", "type": "next", "payload": ALICE},
        {"id": "1", "type": "complete"},
    ]
    assert created["createWorkflow"]["__typename"] == "CreateWorkflowSuccess"
