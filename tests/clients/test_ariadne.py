"""ariadne-codegen: the Python client that it generates passes mypy's strict mode and works."""

import asyncio
import json
import sys
from pathlib import Path

from app import auth
from tests import factories
from tests.client import SECRET, Api, Client
from tests.clients.programs import output

HERE = Path(__file__).parent / "ariadne"
PROGRAM = HERE / "program.py"


def test_the_client_and_a_program_that_uses_it_are_typed_strictly(package: Path) -> None:
    mypy = (sys.executable, "-m", "mypy", "--config-file", HERE / "mypy.ini")
    cache = ("--cache-dir", package.parent / ".mypy_cache")

    said = output(*mypy, *cache, PROGRAM, package, environment={"MYPYPATH": str(package.parent)})

    assert said.startswith("Success: no issues found")


async def test_the_client_starts_lists_watches_and_cancels(
    package: Path, api: Api, alice: Client, tracker: None, worker: str
) -> None:
    older = await factories.waiting(alice, worker)
    workflow = await factories.workflow(alice, worker, "GreetingWorkflow")
    environment = {"URL": api.url, "TOKEN": auth.mint(SECRET, "alice"), "PYTHONPATH": str(package.parent)}

    said = await asyncio.to_thread(lambda: output(sys.executable, PROGRAM, workflow, environment=environment))

    started, listed, *events = map(json.loads, said.splitlines())
    assert listed == {"listed": [started["started"], older["id"]], "total": 2}
    assert events == [
        {"event": "EXECUTION_STARTED", "status": "RUNNING"},
        {"cancelled": "CancelExecutionSuccess"},
        {"event": "EXECUTION_CANCEL_REQUESTED", "status": "RUNNING"},
        {"event": "EXECUTION_CANCELLED", "status": "CANCELLED"},
    ]
