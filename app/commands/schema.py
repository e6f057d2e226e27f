"""The schema as SDL."""

import argparse
import sys

from schema import sdl


def run(_: argparse.Namespace) -> None:
    """Print it."""
    sys.stdout.write(sdl())
