"""Servers of their own and processes of the real command line, to be killed and started again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
from temporalio.client import Client

from app import migrate, servers
from app.servers import Server, running
from tests.client import SECRET, Api
from tests.eventually import eventually
from tests.processes.commands import NO_DEADLOCK, PATIENCE_SECONDS, Command, Program, Replica, answers

TASK_QUEUE = "faults"
REPLICAS = 2
TRACKERS = 2


class Stack:
    """Two API replicas, two trackers and a worker over the three servers. Made by `stacked`."""

    def __init__(self, files: Path, data: Path) -> None:
        self.postgres = servers.postgres(data)
        self.valkey = servers.valkey(data, durable=False)
        # While it is down, another test's stack may take the usual port.
        self.temporal = servers.temporal(data, port=servers.free_port())
        self._servers: tuple[Server, ...] = (self.postgres, self.valkey, self.temporal)
        environment = {
            "DATABASE_URL": self.postgres.address,
            "REDIS_URL": self.valkey.address,
            "TEMPORAL_ADDRESS": self.temporal.address,
            "TEMPORAL_NAMESPACE": "default",
            "JWT_SECRET": SECRET,
            "METRICS": "true",
            # All subscribers are one user's.
            "MAX_SOCKETS_PER_USER": "5000",
            "PLAYGROUND": "false",
            # One user makes all the load.
            "MUTATIONS_PER_MINUTE": "0",
            "COST_PER_MINUTE": "0",
        }
        self.program = Program(files, environment)
        self.replicas: list[Replica] = []
        self.trackers: list[Command] = []
        self.database: asyncpg.Pool
        self.client: Client
        self._exits = AsyncExitStack()
        self._commands: list[Command] = []
        self._reported = set[Path]()

    async def open(self) -> None:
        """Return when everything serves."""
        await self._exits.enter_async_context(running(*self._servers))
        await asyncio.to_thread(migrate.upgrade, self.postgres.address)
        self.database = await self._exits.enter_async_context(
            asyncpg.create_pool(self.postgres.address, min_size=0, max_size=4)
        )
        self.client = await Client.connect(self.temporal.address)
        await self._run("worker", "tests.faults.script", "--task-queue", TASK_QUEUE, **NO_DEADLOCK)
        await self.whole()

    async def close(self) -> None:
        """End all that was started."""
        await self._exits.aclose()

    async def whole(self) -> None:
        """Start what was killed, each replica at the port that it had."""
        for server in self._servers:
            if server.pid is None:
                await server.start()
        for place in range(REPLICAS):
            if not _runs(self.replicas, place):
                await self.start_replica(place)
        for place in range(TRACKERS):
            if not _runs(self.trackers, place):
                await self.start_tracker(place)

    async def start_replica(self, place: int) -> Replica:
        """Start one of the standing replicas, at the port that it had; it answers."""
        port = self.replicas[place].api.port if place < len(self.replicas) else None
        self.replicas[place : place + 1] = [await self.serve(port=port)]
        return self.replicas[place]

    async def start_tracker(self, place: int) -> Command:
        """Start one of the standing trackers."""
        self.trackers[place : place + 1] = [await self.track()]
        return self.trackers[place]

    async def serve(self, environment: dict[str, str] | None = None, port: int | None = None) -> Replica:
        """A replica that answers."""
        api = Api(port or servers.free_port())
        command = await self._run("serve", PORT=str(api.port), **(environment or {}))
        replica = Replica(**vars(command), api=api)
        await eventually(lambda: answers(replica), PATIENCE_SECONDS)
        return replica

    async def track(self, **environment: str) -> Command:
        """A tracker that has begun to live."""
        before = await self._living_trackers()
        command = await self._run("track", **environment)

        async def lives() -> bool:
            assert command.process.poll() is None, command.said()
            return bool(await self._living_trackers() - before)

        await eventually(lives, PATIENCE_SECONDS)
        return command

    async def backstop_deliveries(self) -> int:
        """What the backstop delivered in the standing replicas since each was started."""
        return sum([await _backstop(replica.api) for replica in self.replicas if _lives(replica)])

    async def create_database(self, name: str) -> str:
        """A migrated database of its own; Postgres logs every statement in it."""
        await self.database.execute(f'CREATE DATABASE "{name}"')
        url = self.postgres.address.replace("@/postgres?", f"@/{name}?")
        await asyncio.to_thread(migrate.upgrade, url)
        await self.database.execute(f"ALTER DATABASE \"{name}\" SET log_statement = 'all'")
        return url

    def statements_logged(self) -> int:
        """How many statements Postgres has logged since its start, those of `create_database`'s alone."""
        return self.postgres.log.read_text(errors="replace").count("LOG:  execute ")

    def check_said(self) -> None:
        """Fail the test in which a process showed a traceback."""
        for command in self._commands:
            if command.errors not in self._reported and "Traceback" in command.said():
                self._reported.add(command.errors)
                raise AssertionError(command.said()[-8_000:])

    async def _run(self, *arguments: str, **environment: str) -> Command:
        command = await self._exits.enter_async_context(self.program.run(*arguments, **environment))
        self._commands.append(command)
        return command

    async def _living_trackers(self) -> set[str]:
        rows = await self.database.fetch("SELECT id::text FROM tracker WHERE alive_until > now()")
        return {row["id"] for row in rows}


@asynccontextmanager
async def stacked(files: Path, data: Path) -> AsyncIterator[Stack]:
    """A whole stack; its servers keep their files under `data`."""
    stack = Stack(files, data)
    try:
        await stack.open()
        yield stack
    finally:
        await stack.close()


def _lives(command: Command) -> bool:
    return command.process.poll() is None


def _runs(commands: list[Replica] | list[Command], place: int) -> bool:
    return place < len(commands) and _lives(commands[place])


async def _backstop(api: Api) -> int:
    async with httpx.AsyncClient(verify=False, timeout=60) as client:
        lines = (await client.get(f"http://127.0.0.1:{api.port}/metrics")).text.splitlines()
    [line] = [line for line in lines if line.startswith("backstop_deliveries_total ")]
    return int(float(line.split()[1]))
