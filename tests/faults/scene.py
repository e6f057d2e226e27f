"""One row of the matrix: an owner with executions and subscribers, something that fails, a reckoning."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from app import auth
from tests import factories
from tests.client import SECRET, Api, Client
from tests.eventually import eventually
from tests.faults import oracle
from tests.faults.oracle import Verdict
from tests.faults.record import Line, Record
from tests.faults.sizes import Size
from tests.faults.stack import TASK_QUEUE, Stack
from tests.faults.subscribers import Subscriber

STEPS = 3
RESTLESS_SECONDS = 1.5
STARTS_AT_ONCE = 20
STARTS_PER_CLIENT = 50
SETTLE_SECONDS = 120.0
POLL_SECONDS = 0.2
RETRY_SECONDS = 0.5
# What a client meets while something is away.
AWAY = (httpx.TransportError, AssertionError)
# Temporal records it, with the time at which a worker took the activity, only when the activity ends.
LATE = "ACTIVITY_STARTED"


class Scene:
    """An owner of the row's own, with its subscribers. Made by `staged`."""

    def __init__(self, stack: Stack, size: Size, user: str) -> None:
        self.stack = stack
        self.size = size
        self.owner = user
        self.executions: list[dict[str, Any]] = []
        self.subscribers: list[Subscriber] = []
        self.outage_seconds = 0.0
        self.returned = 0.0
        self._token = auth.mint(SECRET, user, auth.USER_SCOPES)
        self._workflow_id = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._backstop_before = 0

    async def open(self) -> None:
        self._backstop_before = await self.stack.backstop_deliveries()
        async with self.client() as client:
            self._workflow_id = await factories.workflow(client, TASK_QUEUE, "ScriptWorkflow")

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def feeds(self) -> int:
        """How many of the usual subscribers watch the feed; the others watch one execution each."""
        return max(3, self.size.subscribers // 5)

    def client(self, api: Api | None = None) -> Client:
        """The owner, at the first replica or at another."""
        return Client(api or self.stack.replicas[0].api, self._token)

    def watch_feed(self, count: int, *apis: Api) -> None:
        """Let so many subscribers watch the owner's feed; every third of them is restless."""
        for place in range(count):
            self._add(Subscriber(self._token, _from(apis, place), restless_seconds=_restless(place)))

    def watch_executions(self, count: int, *apis: Api) -> None:
        """Let so many subscribers watch one execution each; every third of them is restless."""
        for place in range(count):
            id = self.executions[place % len(self.executions)]["id"]
            self._add(Subscriber(self._token, _from(apis, place), id, _restless(place)))

    async def start(
        self, seconds: float, count: int | None = None, api: Api | None = None, at_once: int = STARTS_AT_ONCE
    ) -> None:
        """Start executions that take about so long, through one replica."""
        scripts = [script(seconds) for _ in range(count or self.size.executions)]
        gate = asyncio.Semaphore(at_once)

        async def start_some(some: Sequence[dict[str, Any]]) -> None:
            async with self.client(api) as client:
                await asyncio.gather(*(start_one(client, each) for each in some))

        async def start_one(client: Client, input: dict[str, Any]) -> None:
            async with gate:
                self.executions.append(await factories.start(client, self._workflow_id, input))

        chunks = [scripts[at : at + STARTS_PER_CLIENT] for at in range(0, len(scripts), STARTS_PER_CLIENT)]
        await asyncio.gather(*map(start_some, chunks))

    async def start_through_faults(self, input: dict[str, Any], cancel_after_seconds: float | None) -> None:
        """Start an execution, and maybe cancel it, as a client does while anything may be away."""
        async with self.client() as client:
            execution = await self._started_at_last(client, input)
            self.executions.append(execution)
            if cancel_after_seconds is not None:
                await asyncio.sleep(cancel_after_seconds)
                with suppress(*AWAY):
                    await client.answer(factories.CANCEL, input={"id": execution["id"]})

    async def _started_at_last(self, client: Client, input: dict[str, Any]) -> dict[str, Any]:
        """Start with an idempotency key, again and again until there is an answer."""
        key = secrets.token_hex(8)
        while True:
            try:
                return await factories.start(client, self._workflow_id, input, idempotencyKey=key)
            except AWAY:
                await asyncio.sleep(RETRY_SECONDS)

    async def crowd(self, seconds: float, *apis: Api) -> None:
        """Start executions at the first replica with the usual subscribers, and wait until all work."""
        self.watch_feed(self.feeds, *apis)
        await self.start(seconds)
        self.watch_executions(self.size.subscribers - self.feeds, *apis)
        await self.recorded(len(self.executions) * 3)

    async def recorded(self, count: int, *types: str) -> None:
        """Wait until the log has so many of the owner's events, of some types where given."""
        query = (
            "SELECT count(*) >= $2 FROM execution_event"
            " WHERE owner_id = $1 AND (cardinality($3::text[]) = 0 OR type = ANY($3))"
        )

        async def enough() -> bool:
            return bool(await self.stack.database.fetchval(query, self.owner, count, list(types)))

        await eventually(enough, SETTLE_SECONDS)

    async def adopt(self) -> None:
        """Take the executions that the log has: some starts were never answered."""
        rows = await oracle.rows(self.stack.database, self.owner)
        self.executions = [{"id": row.id} for row in rows]

    def latest(self, type: str) -> float:
        """When the last event of a type reached the last subscriber."""
        return max(
            receipt.arrived
            for subscriber in self.subscribers
            for receipt in subscriber.receipts
            if receipt.event.type == type
        )

    def back(self, since: float) -> None:
        """Note that the part that was away since then is back."""
        self.returned = time.time()
        self.outage_seconds = self.returned - since

    async def settled(self, count: int | None = None) -> None:
        """Wait until all executions have ended and all subscribers have what there is."""
        due = count or len(self.executions)

        async def ended() -> bool:
            await asyncio.sleep(POLL_SECONDS)
            rows = await oracle.rows(self.stack.database, self.owner)
            states = [row.status for row in rows]
            assert len(states) == due, len(states)
            return not {"PENDING", "RUNNING"} & set(states)

        await eventually(ended, SETTLE_SECONDS)
        await self.delivered()

    async def delivered(self) -> None:
        """Wait until all subscribers have what the log has now."""
        entries = await oracle.log(self.stack.database, self.owner)
        last = {entry.event.execution_id: entry.event.position for entry in entries}
        await eventually(lambda: self._behind(last, len(entries)) == [], 60)

    async def verdict(self) -> Verdict:
        """Compare every subscriber with the log, and the log with Temporal."""
        self._check_errors()
        entries = await oracle.log(self.stack.database, self.owner)
        executions = await oracle.rows(self.stack.database, self.owner)
        await oracle.check_log(self.stack.client, executions, entries)
        verdict = sum((oracle.judge(each, entries) for each in self.subscribers), Verdict())
        verdict.check()
        return verdict

    def converged_seconds(self, since: float | None = None) -> float:
        """The longest that an event took, counted from when it happened or from the return if later."""
        start = since or self.returned
        return max(
            (
                receipt.arrived - max(receipt.happened, start)
                for subscriber in self.subscribers
                for receipt in subscriber.receipts
                if receipt.arrived > start and receipt.event.type != LATE
            ),
            default=0.0,
        )

    async def reckon(self, record: Record, fault: str, within_seconds: float) -> Line:
        """Wait for the end, check everything, note the row; fails where that took longer to converge."""
        await self.settled()
        verdict = await self.verdict()
        backstop = await self.stack.backstop_deliveries()
        line = Line(
            fault,
            len(self.executions),
            len(self.subscribers),
            self.outage_seconds,
            self.converged_seconds(),
            verdict,
            max(0, backstop - self._backstop_before),
        )
        record.lines.append(line)
        assert line.converged_seconds <= within_seconds, line
        self.stack.check_said()
        return line

    def restarted(self) -> None:
        """Forget what a backstop had counted before its replica was replaced."""
        self._backstop_before = 0

    def _add(self, subscriber: Subscriber) -> None:
        self.subscribers.append(subscriber)
        self._tasks.append(asyncio.create_task(subscriber.run()))

    def _behind(self, last: dict[str, int], head: int) -> list[tuple[str | None, int]]:
        for task in self._tasks:
            if task.done():
                task.result()
        return [
            (each.execution_id, each.position)
            for each in self.subscribers
            if each.position < (last[each.execution_id] if each.execution_id else head)
        ]

    def _check_errors(self) -> None:
        codes = {code for subscriber in self.subscribers for code in subscriber.errors}
        assert codes <= {"UNAVAILABLE"}, codes


@asynccontextmanager
async def staged(stack: Stack, size: Size) -> AsyncIterator[Scene]:
    """A scene on a whole stack."""
    await stack.whole()
    scene = Scene(stack, size, f"owner-{secrets.token_hex(4)}")
    await scene.open()
    try:
        yield scene
    finally:
        await scene.close()


def script(seconds: float, steps: int = STEPS, *, fail: bool = False) -> dict[str, Any]:
    """The input of an execution that takes about so long, most of it in timers: workers have few hands."""
    weights = [random.uniform(0.5, 1.5) * (4 if place % 2 else 1) for place in range(steps)]
    return {"steps": [round(seconds * weight / sum(weights), 2) for weight in weights], "fail": fail}


def _from(apis: Sequence[Api], place: int) -> list[Api]:
    """The replicas, begun with another one at each place."""
    first = place % len(apis)
    return [*apis[first:], *apis[:first]]


def _restless(place: int) -> float | None:
    return RESTLESS_SECONDS if place % 3 == 2 else None
