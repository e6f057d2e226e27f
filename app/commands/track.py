"""One tracker."""

import argparse

from app import main
from app.commands import loop
from app.commands.environment import configured


def run(_: argparse.Namespace) -> None:
    """Track until SIGTERM or SIGINT; raises InvalidSettings."""
    loop.run(loop.until_terminated(main.track(configured())))
