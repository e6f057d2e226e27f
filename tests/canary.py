"""What must never be in a log: tokens, the key that signs them, and what tests send wherever they can."""

import logging
import re

from app import logs
from tests.client import SECRET

CANARY = "canary-1b7e5f0c"
_LEAK = re.compile(rf"eyJ[\w-]{{8,}}\.[\w-]{{4,}}|{re.escape(SECRET)}|{re.escape(CANARY)}")


def leaks(text: str) -> list[str]:
    """The lines of a log that say too much."""
    return [line for line in text.splitlines() if _LEAK.search(line)]


class Eavesdropper(logging.Handler):
    """Reads along what a process in production would log, and keeps what it should not have."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.heard: list[str] = []
        self.setFormatter(logs.Format(as_json=True))

    def emit(self, record: logging.LogRecord) -> None:
        self.heard += leaks(self.format(record))
