"""What the environment says to a command."""

import os

from app import logs, settings
from app.settings import InvalidSettings, Settings


def configured() -> Settings:
    """The settings, by which the log is configured; raises InvalidSettings."""
    found = settings.load()
    logs.configure(found.log_level, found.log_format)
    return found


def configure_log() -> None:
    """Configure the log of a command that needs no settings besides."""
    logs.configure(os.environ.get("LOG_LEVEL", "INFO"), os.environ.get("LOG_FORMAT", "text"))


def required(variable: str) -> str:
    """The value of a variable; raises InvalidSettings where there is none."""
    if not (value := os.environ.get(variable)):
        raise InvalidSettings(f"{variable}: is not set")
    return value
