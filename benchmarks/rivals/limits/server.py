"""What no server here can beat: JSON made by Postgres and passed through, behind a bare ASGI function.

It asks for no token. `/starts` makes starts as Temporal's own client does, between two bare transactions.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import asyncpg
import uvicorn
from temporalio.client import Client

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

FIELDS = """
    'id', id, 'status', status, 'version', version, 'input', input, 'output', output,
    'startedBy', started_by, 'temporalWorkflowId', temporal_workflow_id, 'temporalRunId', temporal_run_id,
    'createdAt', created_at, 'startedAt', started_at, 'completedAt', completed_at, 'updatedAt', updated_at
"""
NEWEST = "SELECT * FROM execution WHERE owner_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2::int"
SQL = {
    "list": f"SELECT json_build_object('nodes', json_agg(json_build_object({FIELDS}))) FROM ({NEWEST}) page",
    "after": f"""
        SELECT json_build_object('nodes', json_agg(json_build_object({FIELDS})))
        FROM (
            SELECT * FROM execution
            WHERE owner_id = $1 AND (created_at, id) < (SELECT created_at, id FROM execution WHERE id = $3)
            ORDER BY created_at DESC, id DESC LIMIT $2::int
        ) page
    """,
    "one": f"SELECT json_build_object({FIELDS}) FROM execution WHERE owner_id = $1 AND id = $2",
    "nested": f"""
        SELECT json_build_object('nodes', json_agg(json_build_object(
            'id', page.id, 'status', page.status, 'createdAt', page.created_at,
            'workflow', json_build_object('id', workflow.id, 'name', workflow.name), 'history', history.events
        ))) FROM ({NEWEST}) page JOIN workflow ON workflow.id = workflow_id CROSS JOIN LATERAL (
            SELECT json_agg(
                json_build_object('type', type, 'message', message, 'timestamp', timestamp)
            ) AS events FROM (
                SELECT * FROM execution_event WHERE execution_id = page.id ORDER BY version LIMIT 5
            ) first
        ) history
    """,
    "total": """
        SELECT json_build_object('totalCount', sum(count)) FROM execution_tally
        WHERE owner_id = $1 AND hour = timestamptz 'epoch'
    """,
    "stats": """
        SELECT json_agg(counted) FROM (
            SELECT status, sum(count) AS count FROM execution_tally
            WHERE owner_id = $1 AND hour = timestamptz 'epoch' GROUP BY status
        ) counted
    """,
}
INSERT = """
    INSERT INTO execution (
        id, owner_id, workflow_id, status, version, started_by, temporal_workflow_id, next_history_event,
        start_unsettled, created_at, updated_at
    ) VALUES ($1, $2, $3, 'PENDING', 1, $2, $4, 1, false, now(), now())
"""
UPDATE = """
    UPDATE execution SET status = 'RUNNING', version = 2, temporal_run_id = $2, started_at = now(),
        updated_at = now() WHERE id = $1
"""


class Limits:
    """The server."""

    def __init__(self) -> None:
        self._pool: asyncpg.Pool[asyncpg.Record]
        self._temporal: Client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        question, asked = scope["path"][1:], parse_qs(scope["query_string"].decode())
        given = {name: values[0] for name, values in asked.items()}
        await _answer(send, await self._text(question, given))

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=20)
        if address := os.environ.get("TEMPORAL_ADDRESS"):
            self._temporal = await Client.connect(address)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _text(self, question: str, given: dict[str, str]) -> str:
        if question == "health":
            return "{}"
        if question == "starts":
            return await self._start_all(given)
        values = [given["owner"]]
        more: list[Any] = [int(given["first"])] if "first" in given else []
        more += [UUID(given[name]) for name in ("id", "after") if name in given]
        return str(await self._pool.fetchval(SQL[question], *values, *more))

    async def _start_all(self, given: dict[str, str]) -> str:
        """Many starts, so many of them at once: nothing but them shows in what this costs."""
        left = iter(range(int(given["count"])))

        async def work() -> None:
            for _ in left:
                await self._start(given["owner"], UUID(given["workflow"]))

        await asyncio.gather(*(work() for _ in range(int(given["at_once"]))))
        return "{}"

    async def _start(self, owner: str, workflow: UUID) -> None:
        id = uuid4()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(INSERT, id, owner, workflow, f"limit-{id}")
        handle = await self._temporal.start_workflow(
            "OrderWorkflow", {"order": 1}, id=f"limit-{id}", task_queue="nobody"
        )
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(UPDATE, id, handle.first_execution_run_id)


async def _answer(send: Send, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        Limits(),
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
