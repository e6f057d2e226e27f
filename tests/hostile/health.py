"""Whether a replica is as well after an attack as it was before."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app.valkey import CONNECTIONS as REDIS_CONNECTIONS
from tests import factories
from tests.client import Api
from tests.eventually import eventually
from tests.processes.commands import PATIENCE_SECONDS, Program, Replica, resident_bytes

# As many as a replica may have, so few that a connection which an attack keeps is missed at once.
POOL_SIZE = 4
# Python and glibc give some of what they freed back late, or never.
SLACK_BYTES = 24 * 2**20

LISTENING = "0A"
WORKFLOWS = "{ workflows { nodes { id } } }"
ORDERED = "ORDER BY workflow.created_at"
CONNECTIONS = """
    SELECT pid, wait_event_type, state, query FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
UNFINISHED = """
    SELECT query FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'
"""

Attack = Callable[[Api], Awaitable[None]]


@dataclass(frozen=True)
class Vitals:
    """What an attack must leave as it found it."""

    resident_bytes: int
    clients: int
    sockets: int

    def check(self, before: "Vitals", slack_bytes: int) -> bool:
        """True; fails the test unless it is as well as before."""
        assert self.clients <= before.clients, (before, self)
        # The pool of connections to Redis grows as it is needed; that to Postgres is whole before.
        assert self.sockets <= before.sockets + REDIS_CONNECTIONS, (before, self)
        assert self.resident_bytes <= before.resident_bytes + slack_bytes, (before, self)
        return True


@dataclass(frozen=True)
class Patient:
    """A replica in a process of its own, whose database pool holds POOL_SIZE."""

    replica: Replica
    database: asyncpg.Pool
    task_queue: str

    @property
    def api(self) -> Api:
        return self.replica.api

    @asynccontextmanager
    async def unharmed(self, slack_bytes: int = SLACK_BYTES) -> AsyncIterator[None]:
        """Fails the test in which the replica does not recover from what is done to it meanwhile."""
        before = await self.vitals()
        yield
        assert self.replica.process.poll() is None, self.replica.said()
        await eventually(lambda: self._vitals().check(before, slack_bytes), PATIENCE_SECONDS)
        await self.check_database()
        await self.check_serves()
        assert "Traceback" not in self.replica.said(), self.replica.said()

    async def withstands(self, attack: Attack) -> None:
        """The attack, twice: what the first one leaves behind is caches, and the second may add nothing."""
        await attack(self.api)
        await eventually(lambda: self._vitals().clients == 0, PATIENCE_SECONDS)
        async with self.unharmed():
            await attack(self.api)

    async def vitals(self) -> Vitals:
        """How it is now that all its connections to Postgres are open."""
        await self.check_database()
        await eventually(lambda: self._vitals().clients == 0, PATIENCE_SECONDS)
        return self._vitals()

    async def check_database(self) -> None:
        """Every connection of the pool is there for a request, and none is left in a transaction."""
        async with self.api.client("doctor") as client, self.database.acquire() as lock:
            async with lock.transaction():
                await lock.execute("LOCK TABLE workflow IN ACCESS EXCLUSIVE MODE")
                lists = [asyncio.create_task(client.data(WORKFLOWS)) for _ in range(POOL_SIZE)]
                await eventually(self._all_wait)
            await asyncio.gather(*lists)
        await eventually(self._none_unfinished)

    async def check_serves(self) -> None:
        """An execution is started and watched to its end."""
        async with self.api.client("doctor") as client:
            started = await factories.paid(client, self.task_queue)
            told = await factories.events(client, started["id"])
        assert [event["version"] for event in told] == [1, 2, 3, 4, 5, 6]
        assert told[-1]["type"] == "EXECUTION_COMPLETED"

    def _vitals(self) -> Vitals:
        pid = self.replica.process.pid
        sockets = open_sockets(pid)
        return Vitals(resident_bytes(pid), len(sockets & accepted(pid, self.api.port)), len(sockets))

    async def _all_wait(self) -> bool:
        rows = await self.database.fetch(CONNECTIONS)
        waiting = [row for row in rows if row["wait_event_type"] == "Lock" and ORDERED in row["query"]]
        assert len(waiting) == POOL_SIZE, [*map(dict, rows)]
        return True

    async def _none_unfinished(self) -> bool:
        return await self.database.fetch(UNFINISHED) == []


@asynccontextmanager
async def examined(
    program: Program, database_url: str, task_queue: str, **environment: str
) -> AsyncIterator[Patient]:
    """A replica to attack; a tracker and a worker must run beside it."""
    async with (
        asyncpg.create_pool(database_url, min_size=0, max_size=2) as database,
        program.serve(DATABASE_POOL_SIZE=str(POOL_SIZE), **environment) as replica,
    ):
        patient = Patient(replica, database, task_queue)
        await patient.check_database()
        await patient.check_serves()
        yield patient


def open_sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kind, _, inode = os.readlink(entry).partition(":")
        except FileNotFoundError:
            continue
        if kind == "socket":
            found.add(inode.strip("[]"))
    return found


def accepted(pid: int, port: int) -> set[str]:
    """The inodes of the TCP sockets at a port that came from a client."""
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    rows = [re.split(r"\s+", line.strip()) for line in lines]
    return {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] != LISTENING}
