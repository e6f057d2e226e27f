"""Starts an execution, lists it, watches it and cancels it with the client that ariadne-codegen generates.

    URL=http://… TOKEN=… python program.py WORKFLOW_ID

It prints what it gets, as JSON lines.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator

from temporal_graphql_client import CancelExecutionInput, StartExecutionInput, TemporalGraphQL
from temporal_graphql_client.enums import ExecutionEventType
from temporal_graphql_client.fragments import Event
from websockets import ConnectionClosedError


def connect(url: str, token: str) -> TemporalGraphQL:
    """A client for the API at `url`."""
    bearer = {"Authorization": f"Bearer {token}"}
    ws_url = url.replace("http", "ws", 1)
    return TemporalGraphQL(url, headers=bearer, ws_url=ws_url, ws_connection_init_payload=bearer)


async def watch(client: TemporalGraphQL, execution_id: str, after: str) -> AsyncIterator[Event]:
    """The events of an execution to its last; a lost connection is made anew, from the last cursor on."""
    while True:
        try:
            async for result in client.watch(execution_id, after):
                after = result.execution_events.cursor
                yield result.execution_events
            return
        except (ConnectionClosedError, OSError):
            await asyncio.sleep(1)


async def main(url: str, token: str, workflow_id: str) -> None:
    """Start, list, watch, cancel."""
    async with connect(url, token) as client:
        start = StartExecutionInput(workflow_id=workflow_id, input="Ada")
        started = (await client.start_execution(start)).start_execution
        if started.typename__ != "StartExecutionSuccess":
            sys.exit(started.message)
        id = started.execution.id
        say(started=id)

        page = (await client.executions(first=10)).executions
        say(listed=[edge.node.id for edge in page.edges], total=page.total_count)

        async for event in watch(client, id, started.cursor):
            say(event=event.type_, status=event.status)
            if event.type_ is ExecutionEventType.EXECUTION_STARTED:
                cancel = CancelExecutionInput(id=id, reason="changed my mind")
                answer = (await client.cancel_execution(cancel)).cancel_execution
                say(cancelled=answer.typename__)


def say(**what: object) -> None:
    """One line for whoever reads along."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(main(os.environ["URL"], os.environ["TOKEN"], sys.argv[1]))
