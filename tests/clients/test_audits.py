"""GraphQL over HTTP to the letter: the audits of the npm package graphql-http."""

import asyncio
import json
from pathlib import Path

from app import auth
from tests.client import SECRET, Api
from tests.clients.programs import output

SCRIPT = Path(__file__).parent / "audits.mjs"
AUDITS = 61


async def test_all_audits_pass(api: Api) -> None:
    environment = {"URL": api.url, "TOKEN": auth.mint(SECRET, "alice")}

    audited = json.loads(await asyncio.to_thread(output, "node", SCRIPT, environment=environment))

    assert audited == {"count": AUDITS, "failed": []}
