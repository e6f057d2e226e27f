"""The real command line in processes of its own: what it says is kept, and nothing of it is left behind."""

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app import servers
from app.dev import HEALTH_REQUEST
from tests.canary import leaks
from tests.client import Api
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
# For whatever is not the subject of a test: a machine may be slow.
PATIENCE_SECONDS = 180.0
STOP_SECONDS = 60.0
# What a busy machine keeps a worker waiting for two seconds with is no deadlock.
NO_DEADLOCK = {"TEMPORAL_DEBUG": "1"}
# Nothing else is inherited: a setting of the developer's shell would change what is tested.
INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "CI")


@dataclass(frozen=True)
class Command:
    """A `temporal-graphql` process and the files that its output goes to."""

    process: subprocess.Popen[bytes]
    output: Path
    errors: Path

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """The code that the process ends with by itself."""
        await eventually(lambda: self.process.poll() is not None, timeout_seconds)
        return int(self.process.returncode)

    async def killed(self) -> None:
        """Kill the process without a warning, and wait until it is gone."""
        self.process.kill()
        assert await self.ended() == -signal.SIGKILL

    def said(self) -> str:
        """Its standard error so far."""
        return self.errors.read_text()


@dataclass(frozen=True)
class Replica(Command):
    """A `serve` process and where it listens."""

    api: Api


@dataclass(frozen=True)
class Program:
    """The command line with the settings of one test."""

    files: Path
    environment: dict[str, str]

    @asynccontextmanager
    async def run(self, *arguments: str, **environment: str) -> AsyncIterator[Command]:
        """A running command; killed at the end if it still runs. Its log has no traceback and no secret."""
        command = self._started(arguments, environment)
        try:
            yield command
        finally:
            await _cleared(command.process)
        assert "Traceback" not in command.said(), command.said()
        assert not (said := leaks(command.said())), said

    @asynccontextmanager
    async def serve(self, port: int | None = None, /, **environment: str) -> AsyncIterator[Replica]:
        """A replica that answers, on a free port unless one is given."""
        port = port or servers.free_port()
        async with self.run("serve", PORT=str(port), **environment) as command:
            replica = Replica(**vars(command), api=Api(port))
            await eventually(lambda: answers(replica), PATIENCE_SECONDS)
            yield replica

    async def once(self, *arguments: str, **environment: str) -> Command:
        """A command that ends by itself, after its end."""
        async with self.run(*arguments, **environment) as command:
            await command.ended(PATIENCE_SECONDS)
        return command

    def _started(self, arguments: tuple[str, ...], environment: dict[str, str]) -> Command:
        name = self.files / f"{arguments[0]}-{secrets.token_hex(4)}"
        output, errors = name.with_suffix(".out"), name.with_suffix(".err")
        with output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                # Not even tests that are killed themselves leave it behind.
                servers.tied(sys.executable, "-m", "app.start", *arguments, death=signal.SIGKILL),
                cwd=ROOT,
                env=_inherited() | self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                # A process group as a terminal makes one, without us in it.
                start_new_session=True,
            )
        return Command(process, output, errors)


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    listing = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid="], text=True)
    parents = {int(child): int(parent) for child, parent in map(str.split, listing.splitlines())}
    found, fresh = set[int](), {pid} & parents.keys()
    while fresh:
        found |= fresh
        fresh = {child for child, parent in parents.items() if parent in fresh}
    return found


def alive(pids: Collection[int]) -> dict[int, str]:
    """Those of the processes that still run, and their command lines."""
    listing = subprocess.check_output(["ps", "-A", "-o", "pid=,stat=,args="], text=True)
    rows = [line.split(maxsplit=2) for line in listing.splitlines()]
    return {int(pid): " ".join(args) for pid, state, *args in rows if int(pid) in pids and state[0] != "Z"}


def resident_bytes(pid: int, *, peak: bool = False) -> int:
    """The memory that a process has, or at its peak had."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) * 1024


async def answers(replica: Replica) -> bool:
    """Whether a replica is healthy; raises RuntimeError where it has ended."""
    if replica.process.poll() is not None:
        raise RuntimeError(f"serve ended with code {replica.process.returncode}: {replica.said()}")
    return await servers.replied(replica.api.port, HEALTH_REQUEST, b"HTTP/1.1 200")


async def _cleared(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and whatever outlives it."""
    left = family(process.pid) if process.poll() is None else set()
    process.kill()
    process.wait(STOP_SECONDS)
    try:
        await eventually(lambda: not alive(left), STOP_SECONDS)
    finally:
        for pid in alive(left):
            os.kill(pid, signal.SIGKILL)


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in INHERITED if name in os.environ}
