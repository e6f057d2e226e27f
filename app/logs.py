"""Logs on standard error: a JSON object or a readable line each, tokens struck out."""

import logging
import re
from datetime import UTC, datetime

import orjson

MAX_MESSAGE_CHARACTERS = 2_000
MAX_TRACE_CHARACTERS = 20_000

_TOKEN = re.compile(
    r"(?:token=|bearer(?:[ +]|%20)|(?:(?<![\w-])|%[0-9a-f]{2})ey[\w-]{8,}+\.)[^\s\"'&]*", re.IGNORECASE
)
_LINE_BREAKS = re.compile(r"[\r\n]+")


class Format(logging.Formatter):
    """One line of at most some kilobytes for each record."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        message = redact(record.getMessage())[:MAX_MESSAGE_CHARACTERS]
        trace = redact(self.formatException(record.exc_info)) if record.exc_info else ""
        trace = trace[-MAX_TRACE_CHARACTERS:]
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        if not self._as_json:
            message = _LINE_BREAKS.sub(" ", message)
            return f"{moment[11:23]} {record.levelname:7} {record.name}: {message}{trace and chr(10) + trace}"
        entry = {"time": moment, "level": record.levelname, "logger": record.name, "message": message}
        return orjson.dumps({**entry, "trace": trace} if trace else entry).decode()


def redact(text: str) -> str:
    """The text without anything that looks like a token, and without what UTF-8 refuses."""
    return _TOKEN.sub("[token]", text).encode("utf-8", "replace").decode()


def configure(level: str, format: str) -> None:
    """Send everything to standard error in one format; uvicorn's per-connection lines are left out."""
    handler = logging.StreamHandler()
    handler.setFormatter(Format(as_json=format == "json"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
