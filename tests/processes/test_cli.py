"""The commands that end by themselves, and how all of them put what a user can mend: in one line."""

import json
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.engine import make_url
from websockets import ConnectionClosed

from app.auth import USER_SCOPES, SharedSecret, Verifier
from tests.client import SECRET, connected
from tests.processes.commands import PATIENCE_SECONDS, ROOT, Program
from tests.processes.stack import Stack
from tests.processes.world import until

NOBODY = "127.0.0.1:9"
OPEN = "{ viewer { id } }"
COLUMNS = (
    "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
    " WHERE table_schema = 'public' ORDER BY 1, 2"
)


@pytest_asyncio.fixture
async def empty_database_url(server_database_url: str) -> AsyncIterator[str]:
    """A database without any table."""
    name = f"empty_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server_database_url)
    await connection.execute(f'CREATE DATABASE "{name}"')
    yield make_url(server_database_url).set(database=name).render_as_string(hide_password=False)
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


async def fetched(url: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def complaint(program: Program, *arguments: str, **environment: str) -> list[str]:
    """The lines with which a command refuses to work."""
    ended = await program.once(*arguments, **environment)
    assert ended.process.returncode == 1
    assert ended.output.read_text() == ""
    return ended.said().splitlines()


async def test_a_token_is_valid_for_a_day_and_has_the_user_scopes(bare: Program) -> None:
    ended = await bare.once("token", "--sub", "alice", JWT_SECRET=SECRET)

    assert ended.process.returncode == 0
    caller = await Verifier(SharedSecret(SECRET)).caller(ended.output.read_text().strip())
    assert (caller.subject, caller.scopes) == ("alice", frozenset(USER_SCOPES))
    assert_about(caller.expires_at, timedelta(hours=24))


async def test_a_token_for_other_scopes_and_hours(bare: Program) -> None:
    options = ("--scope", "executions:read", "--scope", "admin", "--hours", "0.5")
    ended = await bare.once("token", "--sub", "bob", *options, JWT_SECRET=SECRET)

    caller = await Verifier(SharedSecret(SECRET)).caller(ended.output.read_text().strip())
    assert (caller.subject, caller.scopes) == ("bob", frozenset({"executions:read", "admin"}))
    assert_about(caller.expires_at, timedelta(minutes=30))


async def test_a_token_with_the_claims_that_the_api_demands(bare: Program) -> None:
    options = (
        "--claim",
        "aud=temporal-graphql",
        "--claim",
        "iss=https://id.example/?a=b",
        "--claim",
        "hours=8",
    )
    ended = await bare.once("token", "--sub", "alice", *options, JWT_SECRET=SECRET)

    strict = Verifier(
        SharedSecret(SECRET), issuers=("https://id.example/?a=b",), audiences=("temporal-graphql",)
    )
    assert (await strict.caller(ended.output.read_text().strip())).subject == "alice"


@pytest.mark.parametrize("claim", ["aud", "=x", "exp=4102444800", "sub=bob"])
async def test_a_claim_of_no_form_is_refused(bare: Program, claim: str) -> None:
    ended = await bare.once("token", "--sub", "alice", "--claim", claim, JWT_SECRET=SECRET)

    assert ended.process.returncode == 2
    assert "argument --claim: must be NAME=TEXT" in ended.said()


def assert_about(moment: datetime, after: timedelta) -> None:
    assert abs(moment - datetime.now(UTC) - after) < timedelta(seconds=PATIENCE_SECONDS)


async def test_a_token_is_signed_with_the_secret_of_a_development_stack(bare: Program, dev: Stack) -> None:
    ended = await bare.once("token", "--sub", "carol", "--data", str(dev.data))

    async with dev.api.bearing(ended.output.read_text().strip()) as carol:
        assert await carol.data(OPEN) == {"viewer": {"id": "carol"}}


@pytest.mark.parametrize(
    ("secret", "options", "line"),
    [
        ("short", (), "JWT_SECRET: must have 32 bytes at least"),
        ("", (), "JWT_SECRET: is not set"),
        (
            SECRET,
            ("--sub", ""),
            "The token does not name its owner: 1 to 255 printable characters, most often in `sub`.",
        ),
    ],
)
async def test_a_token_that_would_not_work_is_refused(
    bare: Program, secret: str, options: tuple[str, ...], line: str
) -> None:
    lines = await complaint(
        bare, "token", "--sub", "alice", "--data", str(bare.files), *options, JWT_SECRET=secret
    )

    assert lines == [f"temporal-graphql token: {line}"]


@pytest.mark.parametrize("hours", ["-1", "nan"])
async def test_hours_that_make_no_sense_are_refused(bare: Program, hours: str) -> None:
    ended = await bare.once("token", "--sub", "alice", f"--hours={hours}", JWT_SECRET=SECRET)

    assert ended.process.returncode == 2
    assert "argument --hours: must be more than 0 and at most 87600" in ended.said()


async def test_schema_prints_the_committed_schema(bare: Program) -> None:
    ended = await bare.once("schema")

    assert ended.process.returncode == 0
    assert ended.output.read_text() == (ROOT / "schema.graphql").read_text()


async def test_migrate_brings_an_empty_database_up_to_date_and_leaves_it_so(
    bare: Program, empty_database_url: str, database_url: str
) -> None:
    for _ in range(2):
        ended = await bare.once("migrate", DATABASE_URL=empty_database_url)

        assert ended.process.returncode == 0
        assert await fetched(empty_database_url, COLUMNS) == await fetched(database_url, COLUMNS)


async def test_migrate_names_a_database_that_is_not_there_without_its_password(
    bare: Program, server_database_url: str
) -> None:
    [line] = await complaint(bare, "migrate", DATABASE_URL=f"postgresql://me:hush@{NOBODY}/none")
    assert line.startswith("temporal-graphql migrate: the database cannot be reached: ")
    assert "hush" not in line

    missing = make_url(server_database_url).set(database="none").render_as_string(hide_password=False)
    [line] = await complaint(bare, "migrate", DATABASE_URL=missing)
    assert line == 'temporal-graphql migrate: the database cannot be reached: database "none" does not exist'


@pytest.mark.parametrize("command", ["serve", "track"])
async def test_missing_settings_are_named_one_a_line(bare: Program, command: str) -> None:
    first, *others = await complaint(bare, command)

    assert first.startswith(f"temporal-graphql {command}: ")
    lines = {first.removeprefix(f"temporal-graphql {command}: "), *others}
    assert lines == {
        "DATABASE_URL: is not set",
        "REDIS_URL: is not set",
        "JWT_JWKS_URL: set this or JWT_SECRET, exactly one of the two",
    }


async def test_wrong_settings_are_named_without_what_they_hold(program: Program) -> None:
    wrong = {
        "DATABASE_URL": "mysql://me:hush@db/x",
        "REDIS_URL": "redis://:hush@cache:door",
    }
    lines = await complaint(program, "serve", **wrong)

    assert lines == [
        "temporal-graphql serve: DATABASE_URL: is not an address like postgresql://host:port",
        "REDIS_URL: is not an address like redis://host:port",
    ]


async def test_a_worker_names_the_module_that_is_not_there(program: Program) -> None:
    [line] = await complaint(program, "worker", "no.such.module", "--task-queue", "none")

    assert line == "temporal-graphql worker: cannot import module no.such.module: No module named 'no'"


async def test_a_worker_names_a_temporal_that_is_not_there(program: Program) -> None:
    [line] = await complaint(program, "worker", "examples", "--task-queue", "none", TEMPORAL_ADDRESS=NOBODY)

    assert line.startswith("temporal-graphql worker: Temporal ")


async def test_a_replica_logs_lines_of_json_and_no_token(program: Program) -> None:
    noisy = {"LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json", "REDIS_URL": f"redis://{NOBODY}"}
    async with program.serve(**noisy) as replica, replica.api.client("alice") as alice:
        signature = alice.token.rpartition(".")[2]
        for token in (alice.token, f"{alice.token}x"):
            await alice.http.get(f"{replica.api.url}?token={token}&query={OPEN}")
            await alice.http.get(
                f"{replica.api.url}?query={OPEN}", headers={"Authorization": f"Bearer {token}"}
            )
            async with connected(replica.api, f"?token={token}") as connection:
                await connection.send('{"type": "connection_init"}')
                await connection.send(
                    '{"id": "1", "type": "subscribe", "payload": {"query": "{ viewer { id } }"}}'
                )
                with suppress(ConnectionClosed):
                    await connection.recv()
        await until(lambda: "Redis: listening stopped" in replica.said())

        replica.send(signal.SIGTERM)

        assert await replica.ended() == 0
        said = replica.said()
    assert alice.token not in said
    assert signature not in said
    lines = [json.loads(line) for line in said.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert "WARNING" in {line["level"] for line in lines}
