"""The playground in a real browser, on a network of its own."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from app import auth
from app.settings import Settings
from tests import factories
from tests.client import SECRET, serving

SCRIPT = Path(__file__).parent / "playground.mjs"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")


@pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ,
    reason="needs a browser: install chromium (apt-get install chromium) or name one in CHROMIUM",
)
async def test_a_browser_runs_a_query_and_a_subscription_without_leaving_the_host(
    settings: Settings, worker: str, tracker: None, tmp_path: Path
) -> None:
    token = auth.mint(SECRET, "dev")
    async with serving(settings.model_copy(update={"playground_token": SecretStr(token)})) as api:
        async with api.client("dev") as dev:
            order = await factories.workflow(dev, worker)
        environment = {
            **os.environ,
            "BASE_URL": api.url.removesuffix("/graphql"),
            "SCREENSHOT": str(tmp_path / "playground.png"),
            "CHROMIUM": CHROMIUM or "chromium",
            "TOKEN": token,
            "TRIGGER": factories.START,
            "TRIGGER_VARIABLES": json.dumps({"input": {"workflowId": order}}),
        }

        process = await asyncio.create_subprocess_exec(
            "node", str(SCRIPT), env=environment, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 90)

    seen = json.loads(output)
    assert seen["ok"], seen
    assert seen["policy"].startswith("default-src 'none'; script-src 'self';")
    assert process.returncode == 0
    assert (tmp_path / "playground.png").stat().st_size > 10_000
