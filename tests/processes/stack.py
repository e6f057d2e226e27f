"""A development stack: `temporal-graphql dev` from its start to its end."""

import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app import servers
from tests.client import Api, Client
from tests.eventually import eventually
from tests.processes.commands import NO_DEADLOCK, PATIENCE_SECONDS, Command, Program, alive, family


@dataclass(frozen=True)
class Stack:
    """A running stack, as its `dev.json` tells."""

    command: Command
    data: Path
    facts: dict[str, Any]
    processes: dict[int, str]

    @property
    def api(self) -> Api:
        port = urlsplit(self.facts["graphql_url"]).port
        assert port
        return Api(port)

    @property
    def ports(self) -> list[int]:
        """Those that it listens on."""
        found = [urlsplit(self.facts[key]).port for key in ("graphql_url", "redis_url")]
        return [port for port in found if port] + [int(self.facts["temporal_address"].rsplit(":", 1)[1])]

    def user(self) -> Client:
        """The user whose token it printed."""
        return Client(self.api, self.facts["token"])

    def part(self, name: str) -> int:
        """The pid of one of its commands, such as `track`."""
        [pid] = [pid for pid, line in self.processes.items() if re.search(rf"app\.start {name}\b", line)]
        return pid

    async def check_gone(self) -> None:
        """Nothing of it is left but its files."""
        assert alive(self.processes.keys()) == {}
        assert not (self.data / "dev.json").exists()


@asynccontextmanager
async def developing(program: Program, data: Path, **environment: str) -> AsyncIterator[Stack]:
    """A stack that is ready, on a port that nobody else is likely to take meanwhile."""
    environment = {"PORT": str(servers.free_port()), **NO_DEADLOCK, **environment}
    async with program.run("dev", "--data", str(data), **environment) as command:
        file = data / "dev.json"
        await eventually(lambda: command.process.poll() is not None or file.exists(), PATIENCE_SECONDS)
        assert command.process.poll() is None, command.said()
        yield Stack(command, data, json.loads(file.read_text()), alive(family(command.process.pid)))


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
