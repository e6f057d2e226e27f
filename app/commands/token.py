"""A token for development."""

import argparse
import os
import sys
from pathlib import Path

from app import auth
from app.commands import loop
from app.commands.environment import required
from app.settings import MINIMUM_SECRET_BYTES, InvalidSettings, secret_file


def run(arguments: argparse.Namespace) -> None:
    """Print a token that the API takes; raises InvalidSettings and Unauthenticated."""
    secret = _secret(arguments.data)
    scopes = tuple(arguments.scope or auth.USER_SCOPES)
    token = auth.mint(secret, arguments.sub, scopes, arguments.hours, dict(arguments.claim))
    # Rather refused here than by the API.
    loop.run(_checked(secret, token))
    sys.stdout.write(token + "\n")


async def _checked(secret: str, token: str) -> None:
    await auth.Verifier(auth.SharedSecret(secret)).caller(token)


def _secret(data: Path) -> str:
    kept = secret_file(data)
    secret = os.environ.get("JWT_SECRET") or (kept.read_text() if kept.exists() else required("JWT_SECRET"))
    if len(secret.encode()) < MINIMUM_SECRET_BYTES:
        raise InvalidSettings(f"JWT_SECRET: must have {MINIMUM_SECRET_BYTES} bytes at least")
    return secret
