"""A frontend as a process, such as apollo/main.ts: what it is told to do, and what it shows."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.client import Api
from tests.eventually import eventually
from tests.processes.commands import PATIENCE_SECONDS

TOLD_LINES = 30


@dataclass(frozen=True)
class Frontend:
    """One user's frontend; `shown` has each line that it printed."""

    process: Process
    shown: list[dict[str, Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    async def tell(self, do: str, **more: Any) -> None:
        """Give it a command of apollo/main.ts."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        await self.process.stdin.drain()

    def all(self, what: str) -> list[Any]:
        """Everything of one name in its lines so far: each `list`, `event`, `type`, `started` or `error`."""
        return [line[what] for line in self.shown if what in line]

    def lists(self) -> list[list[str]]:
        """The ids in the list, each time that they changed."""
        lists = [[row["id"] for row in rows] for rows in self.all("list")]
        return [ids for place, ids in enumerate(lists) if place == 0 or ids != lists[place - 1]]

    def rows(self) -> list[dict[str, Any]]:
        """The list as it is shown now; empty before there is one."""
        rows: list[dict[str, Any]] = (self.all("list") or [[]])[-1]
        return rows

    def statuses(self) -> list[str]:
        """The statuses in the list as it is shown now."""
        return [row["status"] for row in self.rows()]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what it shows; fails with what it showed last."""

        def check() -> bool:
            assert holds(), self.story()
            return True

        await eventually(check, PATIENCE_SECONDS)

    def story(self) -> str:
        """What it showed last, and what it complained of."""
        lines = [json.dumps(line) for line in self.shown[-TOLD_LINES:]]
        return "\n".join(["the frontend showed:", *lines, *self.complaints])


@asynccontextmanager
async def running(build: Path, api: Api, *tokens: str) -> AsyncIterator[Frontend]:
    """The frontend of a user who shows one token after the other; it must not have shown an error."""
    program = build / "apollo" / "main.js"
    async with shown(program, URL=api.url, TOKENS=" ".join(tokens)) as frontend:
        yield frontend


@asynccontextmanager
async def shown(program: Path, *arguments: str, **environment: str) -> AsyncIterator[Frontend]:
    """A program of Node's that prints JSON lines; it must not have shown an error."""
    process = await asyncio.create_subprocess_exec(
        "node",
        program,
        *arguments,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    frontend = Frontend(process)
    listening = asyncio.gather(_listen(frontend), _overhear(frontend))
    try:
        yield frontend
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.wait_for(listening, PATIENCE_SECONDS)
        await process.wait()
    assert frontend.all("error") == [], frontend.story()
    assert frontend.complaints == []


async def _listen(frontend: Frontend) -> None:
    assert frontend.process.stdout
    async for line in frontend.process.stdout:
        frontend.shown.append(json.loads(line))


async def _overhear(frontend: Frontend) -> None:
    assert frontend.process.stderr
    async for line in frontend.process.stderr:
        frontend.complaints.append(line.decode().rstrip())
