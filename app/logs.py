"""Logs on standard error: a JSON object or a readable line each, tokens struck out."""

import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

MAX_MESSAGE_CHARACTERS = 2_000
MAX_TRACE_CHARACTERS = 20_000

OURS = ("app", "resolvers", "schema")
# They tell of every connection, or quote what is sent over it.
TALKATIVE = ("uvicorn.error", "httpx", "httpcore", "websockets")

# Which request, and which operation of a WebSocket, a line belongs to.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
operation_id: ContextVar[str | None] = ContextVar("operation_id", default=None)

_IDENTIFIER = re.compile(r"[\w.:=+/-]{1,128}", re.ASCII)
_TOKEN = re.compile(
    r"(?:token=|bearer(?:[ +]|%20)|(?:(?<![\w-])|%[0-9a-f]{2})ey[\w-]{8,}+\.)[^\s\"'&]*", re.IGNORECASE
)
# Where Postgres and its driver quote the rows and values that they complain of.
_VALUES = re.compile(r"\b(DETAIL|CONTEXT|invalid input [^:\n]+): (?:(?!\n(?:HINT:|\[SQL|\n)).)*", re.DOTALL)
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
        details = {**_ids(), **getattr(record, "fields", {})}
        if not self._as_json:
            message = _LINE_BREAKS.sub(" ", " ".join([message, *(f"{k}={v}" for k, v in details.items())]))
            return f"{moment[11:23]} {record.levelname:7} {record.name}: {message}{trace and chr(10) + trace}"
        entry = {"time": moment, "level": record.levelname, "logger": record.name, "message": message}
        return orjson.dumps({**entry, **details, **({"trace": trace} if trace else {})}).decode()


def fields(**values: str | int) -> dict[str, Any]:
    """What a line says for programs, to be given as `extra`."""
    return {"fields": values}


def identifier(text: str) -> str | None:
    """The text where it can stand in a log as somebody's id: short, plain, and no token."""
    return text if _IDENTIFIER.fullmatch(text) and redact(text) == text else None


def redact(text: str) -> str:
    """The text without anything that looks like a token or a stored value, and without what UTF-8 refuses."""
    text = _VALUES.sub(r"\1: [values]", _TOKEN.sub("[token]", text))
    return text.encode("utf-8", "replace").decode()


def configure(level: str, format: str) -> None:
    """Send everything to standard error in one format; others' libraries say no more than they must."""
    handler = logging.StreamHandler()
    handler.setFormatter(Format(as_json=format == "json"))
    logging.basicConfig(level=max(logging.INFO, logging.getLevelName(level)), handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def _ids() -> dict[str, str]:
    found = {"request": request_id.get(), "operation": operation_id.get()}
    return {name: id for name, id in found.items() if id is not None}
