"""docs/authentication.md is true: its commands run, its settings exist and do what it says."""

import asyncio
import os
import re
import sys
from pathlib import Path

import orjson

from app.auth import SharedSecret, Verifier
from app.settings import Settings
from tests.identity import identity_provider, signer
from tests.processes.commands import ROOT, Program

PAGE = (ROOT / "docs" / "authentication.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
[PRODUCTION] = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.M | re.S)


async def printed(commands: str, **environment: str) -> str:
    """What a shell prints that the commands are pasted into."""
    commands = commands.replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        commands,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await shell.communicate()
    assert shell.returncode == 0
    return output.decode()


def test_every_setting_exists_and_none_is_left_out() -> None:
    named = {name.lower() for name in re.findall(r"\bJWT_[A-Z_]+", PAGE)}

    assert named == {name for name in Settings.model_fields if name.startswith("jwt_")}


def test_every_default_is_the_one_it_says() -> None:
    for name, default in re.findall(r"`(JWT_[A-Z_]+)`,? \(?([\d,]+)[),]", PAGE):
        assert Settings.model_fields[name.lower()].default == float(default.strip(",").replace(",", ""))


async def test_a_token_for_development() -> None:
    token, secret = (await printed(COMMANDS[0] + 'echo "$JWT_SECRET"')).split()

    caller = await Verifier(SharedSecret(secret)).caller(token)

    assert (caller.subject, caller.scopes) == ("alice", frozenset({"executions:read"}))


async def test_the_settings_for_production(program: Program) -> None:
    given = dict(line.split("=", 1) for line in PRODUCTION.splitlines())
    key = signer("production", "ES256")
    token = key.token(iss=given["JWT_ISSUER"], aud=given["JWT_AUDIENCE"], scope="executions:read other")
    others = {name: value for name, value in program.environment.items() if name != "JWT_SECRET"}
    async with (
        identity_provider(key) as provider,
        Program(program.files, others).serve(**{**given, "JWT_JWKS_URL": provider.url}) as replica,
    ):
        answer = orjson.loads(await printed(COMMANDS[1], URL=replica.api.url, TOKEN=token))

    assert answer["data"]["viewer"]["id"] == "alice"
    assert answer["data"]["viewer"]["scopes"] == ["executions:read", "other"]
