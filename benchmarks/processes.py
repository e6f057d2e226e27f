"""Server processes: started, asked what they used, ended."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app import servers
from tests.eventually import eventually
from tests.processes.commands import resident_bytes

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
TICKS = os.sysconf("SC_CLK_TCK")
INHERITED = ("PATH", "HOME", "LANG")
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Usage:
    """The CPU that a process and all that it started have used: seconds, of the dead too once waited for."""

    parent: int
    own_seconds: float
    reaped_seconds: float


@dataclass(frozen=True)
class Process:
    """A server that runs and the port that it answers on."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def resident_bytes(self) -> int:
        """The memory of the process alone, without those that it started."""
        return resident_bytes(self.pid)


@asynccontextmanager
async def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, *, listens: bool = True
) -> AsyncIterator[Process]:
    """A server, once it answers on a free port; killed at the end. Raises RuntimeError where it ends itself.

    One that does not listen is there at once.
    """
    port = servers.free_port()
    process = _started(command, {"PORT": str(port), **environment}, log)
    try:
        if listens:
            await eventually(lambda: _answers(process, port, log), START_SECONDS)
        yield Process(process.pid, port)
    finally:
        process.kill()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """What a process has used, with all that it has started, also what has ended since."""
    usages = dict(_usages())
    root = usages[pid]
    family = {pid}
    while more := {child for child, usage in usages.items() if usage.parent in family} - family:
        family |= more
    return root.reaped_seconds + sum(usages[each].own_seconds for each in family)


def _usages() -> Iterator[tuple[int, Usage]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (usage := _usage(entry)):
            yield int(entry.name), usage


def _usage(entry: Path) -> Usage | None:
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    user, system, user_reaped, system_reaped = map(int, fields[11:15])
    return Usage(int(fields[1]), (user + system) / TICKS, (user_reaped + system_reaped) / TICKS)


def _started(command: Sequence[str], environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - a contestant's command
            servers.tied(*command, death=signal.SIGKILL),
            cwd=ROOT,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


async def _answers(process: "subprocess.Popen[bytes]", port: int, log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"a server ended with code {process.returncode}: {_last_words(log)}")
    return await servers.replied(port, HEALTH, b"HTTP/1.1 200")


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-4_000:]
