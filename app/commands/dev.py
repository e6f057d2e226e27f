"""Everything on one machine, until Ctrl-C."""

import argparse

from app import dev, logs
from app.commands import loop


def run(arguments: argparse.Namespace) -> None:
    """Run the stack; raises as `app.dev` does."""
    logs.configure("WARNING", "text")
    loop.run(dev.run(arguments.data))
