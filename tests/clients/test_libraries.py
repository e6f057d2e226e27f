"""graphql-ws, graphql-sse, Apollo Client, urql and curl follow an execution to its end."""

import signal
from typing import Any

import pytest
from temporalio.client import Client as Temporal

from app import auth
from app.servers import free_port
from tests import factories
from tests.client import SECRET, Api, Client
from tests.clients.watching import LIBRARIES, VERSIONS, Watchers, curl_told, watching
from tests.processes.commands import Program


async def approve(temporal: Temporal, execution: dict[str, Any]) -> None:
    """Let a waiting execution go on, past the API."""
    await temporal.get_workflow_handle(execution["temporalWorkflowId"]).signal("approve")


async def check_told_once(client: Client, execution: dict[str, Any], watchers: Watchers) -> None:
    """Each client was told what the log has, in its order, and nothing twice."""
    log = await factories.events(client, execution["id"])
    events = [{key: event[key] for key in ("cursor", "type", "status", "version")} for event in log]
    assert events[-1]["type"] == "EXECUTION_COMPLETED"
    assert {library: watchers.told(library) for library in watchers.libraries} == dict.fromkeys(
        watchers.libraries, events
    )


async def test_each_library_follows_an_execution_to_its_end(
    api: Api, alice: Client, tracker: None, worker: str, temporal_client: Temporal
) -> None:
    execution = await factories.waiting(alice, worker)

    async with watching(api, execution["id"]) as watchers:
        await watchers.until_told(2)
        await approve(temporal_client, execution)
        await watchers.until_over()

    await check_told_once(alice, execution, watchers)
    assert watchers.libraries == LIBRARIES


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_a_socket_goes_on_when_the_server_is_back(
    program: Program, tracker: None, worker: str, temporal_client: Temporal, ending: signal.Signals
) -> None:
    port = free_port()
    async with program.serve(port) as replica, replica.api.client("alice") as alice:
        execution = await factories.waiting(alice, worker)
        async with watching(replica.api, execution["id"], "graphql-ws") as watchers:
            await watchers.until_told(2)
            replica.send(ending)
            await replica.ended()
            await approve(temporal_client, execution)
            async with program.serve(port) as again, again.api.client("alice") as client:
                await watchers.until_over()
                await check_told_once(client, execution, watchers)


async def test_a_socket_goes_on_with_a_new_token_when_the_old_one_has_expired(
    api: Api, alice: Client, tracker: None, worker: str, temporal_client: Temporal
) -> None:
    execution = await factories.waiting(alice, worker)
    tokens = (auth.mint(SECRET, "alice", hours=3 / 3600), auth.mint(SECRET, "alice"))

    async with watching(api, execution["id"], "graphql-ws", tokens=tokens) as watchers:
        await watchers.until_told(2)
        await watchers.page.until(lambda: watchers.tokens("graphql-ws") == 2)
        await approve(temporal_client, execution)
        await watchers.until_over()

    await check_told_once(alice, execution, watchers)


async def test_curl_follows_an_execution_to_its_end(
    api: Api, alice: Client, tracker: None, worker: str
) -> None:
    execution = await factories.paid(alice, worker)

    assert await curl_told(api, alice.token, execution["id"]) == VERSIONS
