"""The command `temporal-graphql`."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import uvloop

from app import auth, dev, logs, main, migrate, settings, temporal, worker
from app.dev import DevError
from app.errors import Unauthenticated, Unavailable
from app.migrate import MigrationError
from app.server import Server, configuration, settle_memory
from app.servers import ServerError
from app.settings import MINIMUM_SECRET_BYTES, InvalidSettings
from app.worker import WorkerError
from schema import sdl

DEFAULT_DATA = Path(".data")
OWN_OPTIONS = ("sub", "scope", "iat", "exp")
MAX_TOKEN_HOURS = 10 * 365 * 24.0

_MENDABLE = (
    InvalidSettings,
    DevError,
    MigrationError,
    ServerError,
    WorkerError,
    Unauthenticated,
    Unavailable,
)


def run() -> None:
    """Run the command line; what a user can mend ends in one line on standard error and code 1."""
    arguments = _parser().parse_args()
    try:
        arguments.call(arguments)
    except _MENDABLE as error:
        sys.stderr.write(f"temporal-graphql {arguments.command}: {error}\n")
        _leave(1)
    _leave(0)


def _leave(code: int) -> NoReturn:
    """End without finalizing the interpreter, which the Temporal SDK's threads can keep waiting for ever."""
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="temporal-graphql", description="A GraphQL API for workflow executions that run on Temporal."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("dev", help="run everything on this machine until Ctrl-C")
    command.add_argument("--data", type=Path, default=DEFAULT_DATA, help="directory for its files (.data)")
    command.set_defaults(call=_dev)

    command = commands.add_parser("serve", help="run one API replica")
    command.set_defaults(call=_serve)

    command = commands.add_parser("track", help="run one tracker")
    command.set_defaults(call=_track)

    command = commands.add_parser("worker", help="run the workflows and activities of Python modules")
    command.add_argument("modules", nargs="+", metavar="MODULE", help="such as examples or shop.workflows")
    command.add_argument("--task-queue", required=True, help="the Temporal task queue to poll")
    command.set_defaults(call=_worker)

    command = commands.add_parser("migrate", help="bring the database up to date")
    command.set_defaults(call=_migrate)

    command = commands.add_parser("token", help="mint a token for development, signed with JWT_SECRET")
    command.add_argument("--sub", required=True, help="the user")
    command.add_argument("--scope", action="append", help="repeatable; the four user scopes by default")
    command.add_argument("--claim", action="append", type=_claim, help="NAME=TEXT; repeatable", default=[])
    command.add_argument("--hours", type=_hours, default=24.0, help="how long it is valid (24)")
    command.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="where `dev` keeps its secret (.data)"
    )
    command.set_defaults(call=_token)

    command = commands.add_parser("schema", help="print the schema as SDL")
    command.set_defaults(call=_schema)
    return parser


def _dev(arguments: argparse.Namespace) -> None:
    logs.configure("WARNING", "text")
    _run(dev.run(arguments.data))


def _serve(_: argparse.Namespace) -> None:
    found = _configured()
    app = main.create_app(found)
    settle_memory()
    Server(configuration(app, found)).run()


def _track(_: argparse.Namespace) -> None:
    _run(_until_terminated(main.track(_configured())))


def _worker(arguments: argparse.Namespace) -> None:
    logs.configure(os.environ.get("LOG_LEVEL", "INFO"), os.environ.get("LOG_FORMAT", "text"))
    _run(_until_terminated(_work(arguments.modules, arguments.task_queue)))


async def _work(modules: Sequence[str], task_queue: str) -> None:
    await worker.run(await temporal.connect(lazy=False), modules, task_queue)


def _migrate(_: argparse.Namespace) -> None:
    logs.configure(os.environ.get("LOG_LEVEL", "INFO"), os.environ.get("LOG_FORMAT", "text"))
    migrate.upgrade(_required("DATABASE_URL"))


def _token(arguments: argparse.Namespace) -> None:
    secret = _secret(arguments.data)
    scopes = tuple(arguments.scope or auth.USER_SCOPES)
    token = auth.mint(secret, arguments.sub, scopes, arguments.hours, dict(arguments.claim))
    # Rather refused here than by the API.
    _run(_checked(secret, token))
    sys.stdout.write(token + "\n")


async def _checked(secret: str, token: str) -> None:
    await auth.Verifier(auth.SharedSecret(secret)).caller(token)


def _claim(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator or name in OWN_OPTIONS:
        raise argparse.ArgumentTypeError("must be NAME=TEXT, of a claim without an option of its own")
    return name, value


def _hours(text: str) -> float:
    if not 0 < (hours := float(text)) <= MAX_TOKEN_HOURS:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {MAX_TOKEN_HOURS:.0f}")
    return hours


def _schema(_: argparse.Namespace) -> None:
    sys.stdout.write(sdl())


def _configured() -> settings.Settings:
    found = settings.load()
    logs.configure(found.log_level, found.log_format)
    return found


def _required(variable: str) -> str:
    if not (value := os.environ.get(variable)):
        raise InvalidSettings(f"{variable}: is not set")
    return value


def _secret(data: Path) -> str:
    kept = dev.secret_file(data)
    secret = os.environ.get("JWT_SECRET") or (kept.read_text() if kept.exists() else _required("JWT_SECRET"))
    if len(secret.encode()) < MINIMUM_SECRET_BYTES:
        raise InvalidSettings(f"JWT_SECRET: must have {MINIMUM_SECRET_BYTES} bytes at least")
    return secret


async def _until_terminated(work: Coroutine[Any, Any, None]) -> None:
    """Run until SIGTERM or SIGINT, which cancel the work in good order."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise


def _run(work: Coroutine[Any, Any, None]) -> None:
    uvloop.run(work)
