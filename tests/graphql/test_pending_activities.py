"""Execution.pendingActivities: as Temporal has them now, for one execution and for a page of them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from app.servers import free_port
from app.settings import Settings
from tests import factories
from tests.client import Client, serving
from tests.eventually import eventually
from tests.factories import TERMINATE, UPDATE, asked
from tests.silence import silent_server

PENDING = """
query ($id: ID!) {
  execution(id: $id) {
    pendingActivities {
      activityId activityType state attempt lastFailure lastHeartbeat scheduledAt nextAttemptAt
    }
  }
}
"""
LIST = "{ executions(first: 100) { nodes { id pendingActivities { activityType } } } }"


async def pending(client: Client, id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.data(PENDING, id=id))["execution"]["pendingActivities"]
    return found


async def busy(client: Client, queue: str) -> str:
    workflow = await factories.workflow(client, queue, "BusyWorkflow")
    return str((await factories.start(client, workflow, "nobody"))["id"])


async def test_one_backs_off_and_one_waits_for_a_worker(alice: Client, worker: str) -> None:
    id = await busy(alice, worker)

    async def both() -> list[dict[str, Any]] | None:
        found = await pending(alice, id)
        return found if {each["state"] for each in found} == {"SCHEDULED", "BACKING_OFF"} else None

    found = {each["activityType"]: each for each in await eventually(both)}

    stumbled, waiting = found["stumble"], found["elsewhere"]
    assert (stumbled["state"], stumbled["attempt"]) == ("BACKING_OFF", 2)
    assert (stumbled["lastFailure"], stumbled["lastHeartbeat"]) == ("out of paper", {"rows": 7})
    ahead = datetime.fromisoformat(stumbled["nextAttemptAt"]) - datetime.now(UTC)
    assert timedelta(minutes=50) < ahead < timedelta(minutes=61)
    assert (waiting["state"], waiting["attempt"]) == ("SCHEDULED", 1)
    assert (waiting["lastFailure"], waiting["lastHeartbeat"], waiting["nextAttemptAt"]) == (None, None, None)
    assert datetime.now(UTC) - datetime.fromisoformat(waiting["scheduledAt"]) < timedelta(minutes=1)
    assert stumbled["activityId"] != waiting["activityId"]
    await asked(alice, UPDATE, id, status="PAUSED")
    while_paused = {each["activityType"]: each for each in await pending(alice, id)}
    assert while_paused == found
    await asked(alice, TERMINATE, id)
    assert await pending(alice, id) == []


async def test_a_page_of_a_hundred_is_asked_about(alice: Client, worker: str) -> None:
    workflow = await factories.workflow(alice, "nobody")
    ids = [await busy(alice, worker)]
    started = await asyncio.gather(*[factories.start(alice, workflow) for _ in range(99)])
    ids += [each["id"] for each in started]

    async def seen() -> dict[str, list[Any]] | None:
        nodes = (await alice.data(LIST))["executions"]["nodes"]
        found = {node["id"]: node["pendingActivities"] for node in nodes}
        return found if len(found[ids[0]]) == 2 else None

    found = await eventually(seen)

    assert set(found) == set(ids)
    assert [len(found[id]) for id in ids[1:]] == [0] * 99
    await asyncio.gather(*[asked(alice, TERMINATE, id) for id in ids])


async def test_one_that_was_never_started_has_none_and_asks_nobody(settings: Settings) -> None:
    down = settings.model_copy(update={"temporal_address": f"127.0.0.1:{free_port()}"})
    async with serving(down) as api, api.client("alice") as alice:
        started = await factories.stuck(alice)

        assert await pending(alice, started["id"]) == []


async def test_while_temporal_is_down_or_silent_the_answer_says_so_in_time_even_for_a_page(
    alice: Client, settings: Settings
) -> None:
    workflow = await factories.workflow(alice, "nobody")
    started = await asyncio.gather(*[factories.start(alice, workflow) for _ in range(60)])

    async with silent_server() as silent:
        for address in (silent, f"127.0.0.1:{free_port()}"):
            away = settings.model_copy(update={"temporal_address": address, "temporal_timeout_seconds": 0.5})
            async with serving(away) as api, api.client("alice") as there, asyncio.timeout(10):
                error = await there.error(PENDING, id=started[0]["id"])
                many = await there.answer(LIST)

            assert error["extensions"]["code"] == "UNAVAILABLE"
            assert {each["extensions"]["code"] for each in many["errors"]} == {"UNAVAILABLE"}
    await asyncio.gather(*[asked(alice, TERMINATE, each["id"]) for each in started])
