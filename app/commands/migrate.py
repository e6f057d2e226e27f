"""The database brought up to date."""

import argparse

from app import migrate
from app.commands.environment import configure_log, required


def run(_: argparse.Namespace) -> None:
    """Migrate the database of DATABASE_URL; raises InvalidSettings and MigrationError."""
    configure_log()
    migrate.upgrade(required("DATABASE_URL"))
