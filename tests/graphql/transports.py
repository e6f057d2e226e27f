"""One request, such as `{"query": …}` or `{"documentId": …}`, sent in every way that there is."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.client import Client

Request = dict[str, Any]
Answer = dict[str, Any]
SSE = {"Accept": "text/event-stream"}
MULTIPART = {"Accept": "multipart/mixed;subscriptionSpec=1.0, application/json"}


async def by_post(client: Client, request: Request) -> Answer:
    """The answer to a POST."""
    answer: Answer = (await client.http.post(client.api.url, json=request)).json()
    return answer


async def by_get(client: Client, request: Request) -> Answer:
    """The answer to a GET."""
    params = {name: each if isinstance(each, str) else json.dumps(each) for name, each in request.items()}
    answer: Answer = (await client.http.get(client.api.url, params=params)).json()
    return answer


async def by_sse(client: Client, request: Request) -> Answer:
    """The first event of a stream of them."""
    async with client.http.stream("POST", client.api.url, json=request, headers=SSE) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                answer: Answer = json.loads(line.removeprefix("data: "))
                return answer
    raise AssertionError("the stream had no event")


async def by_multipart(client: Client, request: Request) -> Answer:
    """The first part of a response."""
    async with client.http.stream("POST", client.api.url, json=request, headers=MULTIPART) as response:
        async for line in response.aiter_lines():
            if line.startswith("{") and line != "{}":
                answer: Answer = json.loads(line)["payload"]
                return answer
    raise AssertionError("the response had no part")


async def by_websocket(client: Client, request: Request) -> Answer:
    """The first result over a WebSocket, or the errors instead of it."""
    async with client.socket() as socket:
        await socket.send(id="1", type="subscribe", payload=request)
        message = await socket.receive()
    answer: Answer = {"errors": message["payload"]} if message["type"] == "error" else message["payload"]
    return answer


Way = Callable[[Client, Request], Awaitable[Answer]]

EVERY_WAY: dict[str, Way] = {"post": by_post, "get": by_get, "sse": by_sse, "websocket": by_websocket}
"""Those of a query."""
STREAMS: dict[str, Way] = {"sse": by_sse, "multipart": by_multipart, "websocket": by_websocket}
"""Those of a subscription."""
