"""`temporal-graphql dev`: the whole stack on one machine, out of wheels, until Ctrl-C."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import orjson

from app import auth, migrate, seed, servers, settings
from app.mendable import Mendable
from app.servers import Servers

USER = "dev"
HOST = "127.0.0.1"
USUAL_PORT = 8000
TOKEN_HOURS = 30 * 24.0
READY_SECONDS = 120.0
HEALTH_REQUEST = b"GET /health HTTP/1.0\r\n\r\n"
STOP_SECONDS = 10.0
POLL_SECONDS = 0.1

BANNER = """
  temporal-graphql is ready.

  Playground   {page}
  API          {graphql_url}   (subscriptions: {ws_url})
  Token        {token}
  Files        {data}

  Open the playground: the token is filled in, its tabs list, watch and cancel. To start an order, paste:

    mutation {{ startExecution(input: {{ workflowId: "{order_id}" }}) {{
      ... on StartExecutionSuccess {{ execution {{ id status }} }} ... on Error {{ code message }} }} }}

  Ctrl-C stops everything.
"""


class DevError(Mendable):
    """The stack could not be started, or a part of it has ended."""


@dataclass(frozen=True)
class Stack:
    """What a running stack tells about itself, also in `dev.json`."""

    graphql_url: str
    ws_url: str
    token: str
    database_url: str
    redis_url: str
    temporal_address: str
    pid: int


async def run(data: Path) -> None:
    """Serve until SIGINT or SIGTERM, with all files under `data`.

    Raises DevError, ServerError, MigrationError or Unavailable.
    """
    stopped = _stop_event()
    async with servers.embedded(
        data,
        database_url=os.environ.get("DATABASE_URL"),
        redis_url=os.environ.get("REDIS_URL"),
        temporal_address=os.environ.get("TEMPORAL_ADDRESS"),
    ) as addresses:
        environment, stack = _environment(data, addresses)
        await asyncio.to_thread(migrate.upgrade, addresses.database_url)
        examples = await seed.register_examples(addresses.database_url, USER)
        async with _parts(environment) as parts:
            await _until_ready(int(environment["PORT"]), parts, stopped)
            if not stopped.is_set():
                with _announced(data, stack, examples[seed.ORDER]):
                    await _until_stopped(parts, stopped)


def _stop_event() -> asyncio.Event:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


def _environment(data: Path, addresses: Servers) -> tuple[dict[str, str], Stack]:
    secret = os.environ.get("JWT_SECRET") or _kept_secret(data)
    token = auth.mint(secret, USER, hours=TOKEN_HOURS)
    port = int(os.environ.get("PORT") or servers.free_port(USUAL_PORT))
    environment = {
        "LOG_FORMAT": "text",
        # The page holds a token, which no other site may read under a name of its own.
        "ALLOWED_HOSTS": f"{HOST},localhost",
        **os.environ,
        "DATABASE_URL": addresses.database_url,
        "REDIS_URL": addresses.redis_url,
        "TEMPORAL_ADDRESS": addresses.temporal_address,
        "JWT_SECRET": secret,
        "HOST": HOST,
        "PORT": str(port),
        "PLAYGROUND_TOKEN": token,
    }
    stack = Stack(
        graphql_url=f"http://{HOST}:{port}/graphql",
        ws_url=f"ws://{HOST}:{port}/graphql",
        token=token,
        database_url=addresses.database_url,
        redis_url=addresses.redis_url,
        temporal_address=addresses.temporal_address,
        pid=os.getpid(),
    )
    return environment, stack


def _kept_secret(data: Path) -> str:
    """A secret that outlives this run, so that tokens do."""
    file = settings.secret_file(data)
    if not file.exists():
        _write_private(file, secrets.token_urlsafe(48))
    return file.read_text()


def _write_private(file: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
    draft.rename(file)


@dataclass(frozen=True)
class Part:
    """A process of the stack."""

    name: str
    process: asyncio.subprocess.Process


@asynccontextmanager
async def _parts(environment: dict[str, str]) -> AsyncIterator[list[Part]]:
    """The API, a tracker and the example worker, as the same commands that production uses."""
    commands = (("serve",), ("track",), ("worker", "examples", "--task-queue", seed.TASK_QUEUE))
    parts: list[Part] = []
    try:
        for command in commands:
            # Killed with us, since nothing is left then to wait for a good end; none of them keeps anything.
            line = servers.tied(sys.executable, "-m", "app.start", *command, death=signal.SIGKILL)
            process = await asyncio.create_subprocess_exec(*line, env=environment, start_new_session=True)
            parts.append(Part(command[0], process))
        yield parts
    finally:
        await asyncio.gather(*(_end(part) for part in parts))


async def _end(part: Part) -> None:
    if part.process.returncode is not None:
        return
    part.process.terminate()
    try:
        await asyncio.wait_for(part.process.wait(), STOP_SECONDS)
    except TimeoutError:
        part.process.kill()
        await part.process.wait()


async def _until_ready(port: int, parts: list[Part], stopped: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not stopped.is_set() and not await servers.replied(port, HEALTH_REQUEST, b"HTTP/1.1 200"):
                _check_alive(parts)
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise DevError(f"the API did not answer on port {port} within {READY_SECONDS:.0f} s") from None


async def _until_stopped(parts: list[Part], stopped: asyncio.Event) -> None:
    while not stopped.is_set():
        _check_alive(parts)
        try:
            await asyncio.wait_for(stopped.wait(), POLL_SECONDS)
        except TimeoutError:
            continue


def _check_alive(parts: list[Part]) -> None:
    for part in parts:
        if part.process.returncode is not None:
            raise DevError(f"`temporal-graphql {part.name}` ended with code {part.process.returncode}")


@contextmanager
def _announced(data: Path, stack: Stack, order_id: UUID) -> Iterator[None]:
    """Print the stack, and keep `dev.json` for as long as it runs."""
    file = data / "dev.json"
    _write_private(file, orjson.dumps(stack, option=orjson.OPT_INDENT_2).decode())
    page = stack.graphql_url
    sys.stdout.write(
        BANNER.format(
            page=page, graphql_url=page, ws_url=stack.ws_url, token=stack.token, data=data, order_id=order_id
        )
    )
    sys.stdout.flush()
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
