"""Log lines: readable by people or programs, bounded, and without tokens."""

import logging
import sys
from collections.abc import Iterator
from contextvars import copy_context

import orjson
import pytest

from app import logs
from app.auth import mint
from app.logs import Format
from tests.client import SECRET

TOKEN = mint(SECRET, "alice")
BOTH = pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])


def record(message: str, *args: object, error: bool = False) -> logging.LogRecord:
    found = logging.LogRecord(
        "app.hub", logging.WARNING, __file__, 1, message, args, sys.exc_info() if error else None
    )
    found.created = 1_767_830_400.25
    return found


def failed(error: ValueError) -> logging.LogRecord:
    """The record of a failure that was raised."""
    try:
        raise error
    except ValueError:
        return record("A step failed", error=True)


def test_a_line_for_programs_is_a_json_object() -> None:
    line = Format(as_json=True).format(record("%s of %d", "one", 2))

    assert orjson.loads(line) == {
        "time": "2026-01-08T00:00:00.250+00:00",
        "level": "WARNING",
        "logger": "app.hub",
        "message": "one of 2",
    }


def test_a_line_for_people_is_plain() -> None:
    line = Format(as_json=False).format(record("%s of %d", "one", 2))

    assert line == "00:00:00.250 WARNING app.hub: one of 2"


def test_a_traceback_follows() -> None:
    as_json = orjson.loads(Format(as_json=True).format(failed(ValueError("too bad"))))
    as_text = Format(as_json=False).format(failed(ValueError("too bad")))

    assert as_json["message"] == "A step failed"
    assert as_json["trace"].startswith("Traceback (most recent call last):\n")
    assert as_json["trace"].endswith("\nValueError: too bad")
    assert as_text.startswith(
        "00:00:00.250 WARNING app.hub: A step failed\nTraceback (most recent call last):\n"
    )
    assert as_text.endswith("\nValueError: too bad")


@BOTH
@pytest.mark.parametrize(
    "written",
    [
        TOKEN,
        f"Bearer {TOKEN}",
        f"authorization: bearer {TOKEN}",
        f'{{"Authorization": "Bearer {TOKEN}"}}',
        f"GET /graphql?token={TOKEN}&query=1",
        f"GET /graphql?authorization=Bearer+{TOKEN}",
        f"GET /graphql?authorization=Bearer%20{TOKEN}",
        f"GET /graphql?variables=%7B%22a%22:%22{TOKEN}%22%7D",
        f"'{TOKEN}'",
        f"[{TOKEN}]",
        f"a\n{TOKEN}\nb",
        f"{TOKEN},{TOKEN}",
        "Bearer opaque-secret-token-1",
        "?token=opaque-secret-token-1",
    ],
)
def test_tokens_are_struck_out(as_json: bool, written: str) -> None:
    formatter = Format(as_json=as_json)
    lines = [
        formatter.format(record(written)),
        formatter.format(record("it was %s", written)),
        formatter.format(failed(ValueError(written))),
    ]

    for line in lines:
        assert "[token]" in line
        assert not [part for part in (*TOKEN.split("."), "opaque-secret-token-1") if part in line]


@BOTH
def test_a_token_across_the_limit_is_struck_out_whole(as_json: bool) -> None:
    line = Format(as_json=as_json).format(record("a" * (logs.MAX_MESSAGE_CHARACTERS - 20) + " " + TOKEN))

    assert "eyJ" not in line


@BOTH
def test_other_words_stay(as_json: bool) -> None:
    said = "The token is not valid: a keyboard's eye is on token bearers, 10.5 % of them"

    assert said in Format(as_json=as_json).format(record(said))


@BOTH
def test_a_line_is_bounded(as_json: bool) -> None:
    formatter = Format(as_json=as_json)

    assert len(formatter.format(record("x" * 1_000_000))) < 2_500
    assert len(formatter.format(failed(ValueError("x" * 1_000_000)))) < 25_000


def test_a_long_traceback_keeps_its_end() -> None:
    def fall(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 100_000 + " at the very end")
        fall(depth - 1)

    try:
        fall(100)
    except ValueError:
        line = Format(as_json=False).format(record("A step failed", error=True))

    assert line.endswith("at the very end")


@BOTH
def test_text_that_is_no_utf_8_is_logged_all_the_same(as_json: bool) -> None:
    formatter = Format(as_json=as_json)

    assert "a?b" in formatter.format(record("a\ud800b"))
    assert "a?b" in formatter.format(failed(ValueError("a\ud800b")))


def test_a_message_cannot_pretend_to_be_another_line() -> None:
    line = Format(as_json=False).format(record("%s", "x\r\n00:00:00.000 INFO    app.auth: admin came in"))

    assert "\n" not in line
    assert "\r" not in line


@BOTH
@pytest.mark.parametrize(
    "label",
    ["DETAIL", "CONTEXT", "invalid input for query argument $1", "invalid input syntax for type uuid"],
)
def test_what_postgres_quotes_is_struck_out(as_json: bool, label: str) -> None:
    message = f"insert failed: broken\n{label}: Failing row contains (1, a secret\nin lines).\nHINT:  Mend it"
    line = Format(as_json=as_json).format(failed(ValueError(message)))

    assert "secret" not in line
    assert "in lines" not in line
    assert "insert failed: broken" in line
    assert "Mend it" in line


def test_a_line_says_whose_it_is() -> None:
    def write() -> list[str]:
        logs.request_id.set("r-1")
        logs.operation_id.set("o-1")
        return [Format(as_json=as_json).format(record("done")) for as_json in (True, False)]

    as_json, as_text = copy_context().run(write)

    assert {"request": "r-1", "operation": "o-1"}.items() <= orjson.loads(as_json).items()
    assert as_text == "00:00:00.250 WARNING app.hub: done request=r-1 operation=o-1"


def test_fields_stand_by_themselves() -> None:
    told = record("Refused")
    told.__dict__ |= logs.fields(code="NOT_FOUND", errors=2)

    assert orjson.loads(Format(as_json=True).format(told))["code"] == "NOT_FOUND"
    assert Format(as_json=False).format(told).endswith("Refused code=NOT_FOUND errors=2")


@pytest.mark.parametrize(
    "text", ["1", "a" * 128, "3f2b-7c", "00ff:1.2/x+y=_", "b9c7a1d0e5f64f0b9a7c2f6d1e3b5a79"]
)
def test_a_plain_id_may_stand_in_a_log(text: str) -> None:
    assert logs.identifier(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a" * 129, "a b", "a\n", "a\r\nb", "é", "\x00", '"', "{}", "a;b", TOKEN, f"x/{TOKEN}", "token=1"],
)
def test_any_other_text_may_not(text: str) -> None:
    assert logs.identifier(text) is None


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    loggers = [logging.root, *map(logging.getLogger, (*logs.OURS, *logs.TALKATIVE))]
    handlers, levels = logging.root.handlers, [logger.level for logger in loggers]
    logging.root.handlers = []
    yield logging.root
    logging.root.handlers = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("format", ["json", "text"])
def test_everything_goes_to_standard_error_in_one_format(
    root: logging.Logger, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("INFO", format)

    logging.getLogger("app.hub").info("seen %s", TOKEN)
    logging.getLogger("app.hub").debug("below the level")
    logging.getLogger("uvicorn.error").info("a connection's own line")
    logging.getLogger("uvicorn.error").warning("a warning of the server")

    written = capsys.readouterr()
    assert written.out == ""
    lines = written.err.splitlines()
    if format == "json":
        assert [orjson.loads(line)["message"] for line in lines] == [
            "seen [token]",
            "a warning of the server",
        ]
    else:
        assert [line.split(": ", 1)[1] for line in lines] == ["seen [token]", "a warning of the server"]


def test_at_debug_only_we_ourselves_say_more(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("DEBUG", "json")

    for name in ("app.hub", "resolvers.x", "schema.errors"):
        logging.getLogger(name).debug("ours")
    for name in (
        "httpcore.http11",
        "asyncio",
        "sqlalchemy.engine",
        "temporalio",
        "websockets.server",
        "redis",
    ):
        logging.getLogger(name).debug("theirs")
    for name in ("httpx", "uvicorn.error", "httpcore.connection", "websockets.server"):
        logging.getLogger(name).info("theirs")

    messages = [orjson.loads(line)["message"] for line in capsys.readouterr().err.splitlines()]
    assert messages == ["ours"] * 3


@pytest.mark.parametrize("level", ["WARNING", "ERROR"])
def test_a_level_above_info_is_everybodys(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    logs.configure(level, "json")

    logging.getLogger("app.hub").info("ours")
    logging.getLogger("alembic").info("theirs")

    assert capsys.readouterr().err == ""
