"""One API replica."""

import argparse
import gc

from app import main
from app.commands.environment import configured
from app.server import Server, configuration, settle_memory


def run(_: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT; raises InvalidSettings."""
    found = configured()
    app = main.create_app(found)
    settle_memory()
    gc.enable()
    Server(configuration(app, found)).run()
