"""The command `temporal-graphql`: its commands and their options."""

import argparse
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from app.mendable import Mendable

DEFAULT_DATA = Path(".data")
OWN_OPTIONS = ("sub", "scope", "iat", "exp")
MAX_TOKEN_HOURS = 10 * 365 * 24.0


def run() -> None:
    """Run the command line; what a user can mend ends in one line on standard error and code 1."""
    arguments = _parser().parse_args()
    try:
        # A command loads what it needs, which takes longer than most of them work.
        import_module(f"app.commands.{arguments.command}").run(arguments)
    except Mendable as error:
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

    commands.add_parser("serve", help="run one API replica")

    commands.add_parser("track", help="run one tracker")

    command = commands.add_parser("worker", help="run the workflows and activities of Python modules")
    command.add_argument("modules", nargs="+", metavar="MODULE", help="such as examples or shop.workflows")
    command.add_argument("--task-queue", required=True, help="the Temporal task queue to poll")

    commands.add_parser("migrate", help="bring the database up to date")

    command = commands.add_parser("token", help="mint a token for development, signed with JWT_SECRET")
    command.add_argument("--sub", required=True, help="the user")
    command.add_argument("--scope", action="append", help="repeatable; the four user scopes by default")
    command.add_argument("--claim", action="append", type=_claim, help="NAME=TEXT; repeatable", default=[])
    command.add_argument("--hours", type=_hours, default=24.0, help="how long it is valid (24)")
    command.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="where `dev` keeps its secret (.data)"
    )

    commands.add_parser("schema", help="print the schema as SDL")
    return parser


def _claim(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator or name in OWN_OPTIONS:
        raise argparse.ArgumentTypeError("must be NAME=TEXT, of a claim without an option of its own")
    return name, value


def _hours(text: str) -> float:
    if not 0 < (hours := float(text)) <= MAX_TOKEN_HOURS:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {MAX_TOKEN_HOURS:.0f}")
    return hours
