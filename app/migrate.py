"""The schema of the database: migrated with Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config

import migrations
from app.mendable import Mendable


class MigrationError(Mendable):
    """The database cannot be reached; the message says why."""


def config(database_url: str) -> Config:
    """Alembic's configuration for one database."""
    found = Config()
    found.set_main_option("script_location", str(Path(migrations.__file__).parent))
    # ConfigParser takes a percent sign for an interpolation.
    found.set_main_option("database_url", database_url.replace("%", "%%"))
    return found


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring a database up to a revision; raises MigrationError. Not to be called under an event loop."""
    command.upgrade(config(database_url), revision)


def downgrade(database_url: str, revision: str = "base") -> None:
    """Take a database back to a revision; raises MigrationError. Not to be called under an event loop."""
    command.downgrade(config(database_url), revision)
