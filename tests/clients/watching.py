"""The client libraries of watch/main.mjs, each following one execution as its documentation says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gql import Client as Gql
from gql import GraphQLRequest
from gql.transport.websockets import WebsocketsTransport

from app import auth
from tests import factories
from tests.client import SECRET, Api
from tests.clients.frontend import Frontend, shown
from tests.clients.programs import LIMIT_SECONDS, output

PROGRAM = Path(__file__).parent / "watch" / "main.mjs"
LIBRARIES = (
    "graphql-ws",
    "graphql-sse",
    "apollo-ws",
    "apollo-multipart",
    "urql-ws",
    "urql-sse",
    "urql-fetch",
)
# Of a payment that succeeds at once.
VERSIONS = [1, 2, 3, 4, 5, 6]


@dataclass(frozen=True)
class Watchers:
    """Clients at work, and what each has been told."""

    page: Frontend
    libraries: tuple[str, ...]

    def told(self, library: str) -> list[dict[str, Any]]:
        """The events that a client was given so far, but for what a client asks for by itself."""
        events = [line["event"] for line in self._lines(library) if "event" in line]
        return [{name: event[name] for name in event if name != "__typename"} for event in events]

    def tokens(self, library: str) -> int:
        """How often a client has asked for a token."""
        return sum("tokens" in line for line in self._lines(library))

    async def until_told(self, count: int) -> None:
        """Wait until each client was given so many events."""
        await self.page.until(lambda: all(len(self.told(library)) >= count for library in self.libraries))

    async def until_over(self) -> None:
        """Wait until each client was told that there is no more."""
        await self.page.until(
            lambda: {line["client"] for line in self.page.shown if "over" in line} == {*self.libraries}
        )

    def _lines(self, library: str) -> list[dict[str, Any]]:
        return [line for line in self.page.shown if line["client"] == library]


@asynccontextmanager
async def watching(
    api: Api, execution_id: str, *libraries: str, tokens: tuple[str, ...] = ()
) -> AsyncIterator[Watchers]:
    """Clients that follow an execution of Alice's, all libraries unless some are named."""
    chosen = libraries or LIBRARIES
    shows = " ".join(tokens or (auth.mint(SECRET, "alice"),))
    async with shown(PROGRAM, *chosen, URL=api.url, TOKENS=shows, EXECUTION=execution_id) as page:
        yield Watchers(page, chosen)


async def gql_told(api: Api, token: str, execution_id: str) -> list[int]:
    """The versions that gql, the client for Python, is told of an execution, to its end."""
    payload = {"Authorization": f"Bearer {token}"}
    request = GraphQLRequest(factories.EVENTS, variable_values={"id": execution_id})
    transport = WebsocketsTransport(url=api.ws_url, init_payload=payload)
    async with asyncio.timeout(LIMIT_SECONDS), Gql(transport=transport) as session:
        return [result["executionEvents"]["version"] async for result in session.subscribe(request)]


async def curl_told(api: Api, token: str, execution_id: str) -> list[int]:
    """The versions that curl is told of an execution over SSE, which must end as the protocol says."""
    body = json.dumps({"query": factories.EVENTS, "variables": {"id": execution_id}})
    headers = (
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        "Accept: text/event-stream",
    )
    said = await asyncio.to_thread(
        output, *("curl", "-sSN", api.url, "-d", body), *(f"-H{header}" for header in headers)
    )
    assert said.rstrip().splitlines()[-2:] == ["event: complete", "data:"]
    events = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
    return [event["data"]["executionEvents"]["version"] for event in events]


async def check_watched(api: Api, task_queue: str) -> None:
    """Each library follows an execution to its end, and so do gql and curl."""
    async with api.client("alice") as alice:
        execution = await factories.paid(alice, task_queue)
        async with watching(api, execution["id"]) as watchers:
            await watchers.until_over()
        assert await gql_told(api, alice.token, execution["id"]) == VERSIONS
        assert await curl_told(api, alice.token, execution["id"]) == VERSIONS
    for library in LIBRARIES:
        told = watchers.told(library)
        assert [event["version"] for event in told] == VERSIONS, (library, told)
        assert told[-1]["type"] == "EXECUTION_COMPLETED"
