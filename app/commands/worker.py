"""A worker for the workflows and activities of Python modules."""

import argparse
from collections.abc import Sequence

from app import temporal, worker
from app.commands import loop
from app.commands.environment import configure_log


def run(arguments: argparse.Namespace) -> None:
    """Work until SIGTERM or SIGINT; raises WorkerError and Unavailable."""
    configure_log()
    loop.run(loop.until_terminated(_work(arguments.modules, arguments.task_queue)))


async def _work(modules: Sequence[str], task_queue: str) -> None:
    await worker.run(await temporal.connect(lazy=False), modules, task_queue)
