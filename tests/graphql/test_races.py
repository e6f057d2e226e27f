"""Fifty clients at the same executions: every outcome is legal, and Temporal and the log agree on it."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import temporalio.client
from temporalio.client import WorkflowExecutionStatus

from app.settings import Settings
from tests import factories
from tests.client import Client, serving, tracking
from tests.factories import CANCEL, TERMINATE, UPDATE, asked
from tests.temporal.scene import workflow_id

CLIENTS, ROUNDS = 50, 4
# Executions that a worker lets be cancelled, and such that nobody works at.
WORKED_AT, STUCK = 2, 3
MAX_UNSURE = 0.5
CANCELED, TERMINATED = WorkflowExecutionStatus.CANCELED, WorkflowExecutionStatus.TERMINATED
ACTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "cancel": (CANCEL, {}),
    "pause": (UPDATE, {"status": "PAUSED"}),
    "resume": (UPDATE, {"status": "RUNNING"}),
    "complete": (UPDATE, {"status": "COMPLETED", "output": {"by": "hand"}}),
    "terminate": (TERMINATE, {}),
}
LEGAL = {
    ("PENDING", "RUNNING"),
    *(("RUNNING", to) for to in ("PAUSED", "COMPLETED", "FAILED", "CANCELLED")),
    *(("PAUSED", to) for to in ("RUNNING", "COMPLETED", "FAILED", "CANCELLED")),
}
# What an action is told by, each time that it was taken.
TOLD = {"pause": "EXECUTION_PAUSED", "resume": "EXECUTION_RESUMED"}
ENDS = {
    "complete": "EXECUTION_COMPLETED",
    "terminate": "EXECUTION_FAILED",
    "cancel": "EXECUTION_CANCELLED",
}

# An execution, the action, and the kind of answer.
Outcome = tuple[str, str, str]


async def race(client: Client, ids: list[str], chance: random.Random) -> list[Outcome]:
    """What became of one client's actions; those of the last round may end an execution."""
    outcomes = []
    for round in range(ROUNDS):
        last = round == ROUNDS - 1
        action = chance.choice(list(ACTIONS) if last else ["cancel", "pause", "resume"])
        id = chance.choice(ids)
        mutation, given = ACTIONS[action]
        answer = await asked(client, mutation, id, **given)
        outcomes.append((id, action, answer["__typename"]))
        if answer["__typename"] == "InvalidTransitionError":
            assert answer["allowedActions"] or answer["from"] in {"COMPLETED", "FAILED", "CANCELLED"}
    return outcomes


async def terminated(client: Client, id: str) -> AsyncGenerator[Outcome, None]:
    """End an execution, unless it has ended; what came of each try."""
    kind = "UnavailableError"
    while kind == "UnavailableError":
        kind = (await asked(client, TERMINATE, id))["__typename"]
        yield id, "terminate", kind


async def paused_and_unpaused(client: temporalio.client.Client, id: str) -> Counter[str]:
    """How often Temporal paused and unpaused it."""
    history = client.get_workflow_handle(workflow_id(id)).fetch_history_events()
    kinds = [event.WhichOneof("attributes") async for event in history]
    return Counter(
        {
            "EXECUTION_PAUSED": kinds.count("workflow_execution_paused_event_attributes"),
            "EXECUTION_RESUMED": kinds.count("workflow_execution_unpaused_event_attributes"),
        }
    )


async def test_every_outcome_is_legal_and_told_once(
    settings: Settings, worker: str, temporal_client: temporalio.client.Client
) -> None:
    async with AsyncExitStack() as stack:
        apis = [await stack.enter_async_context(serving(settings)) for _ in range(2)]
        for _ in range(2):
            await stack.enter_async_context(tracking(settings))
        clients = [await stack.enter_async_context(apis[n % 2].client("alice")) for n in range(CLIENTS)]
        started = [await factories.waiting(clients[0], worker) for _ in range(WORKED_AT)]
        started += [await factories.stuck(clients[0]) for _ in range(STUCK)]
        ids = [str(each["id"]) for each in started]

        races = [race(client, ids, random.Random(n)) for n, client in enumerate(clients)]
        outcomes = [outcome for each in await asyncio.gather(*races) for outcome in each]
        for id in ids:
            outcomes += [outcome async for outcome in terminated(clients[0], id)]

        kinds = {kind for *_, kind in outcomes}
        assert kinds <= {
            *("CancelExecutionSuccess", "UpdateExecutionSuccess", "TerminateExecutionSuccess"),
            *("InvalidTransitionError", "UnavailableError"),
        }
        taken = {action for _, action, kind in outcomes if kind.endswith("Success")}
        assert taken >= {"cancel", "pause", "resume"}
        unsure = [kind for *_, kind in outcomes if kind == "UnavailableError"]
        assert len(unsure) < MAX_UNSURE * len(outcomes)
        ends = Counter[str]()
        for id in ids:
            # The subscription ends with the execution: all is recorded then.
            await factories.events(clients[0], id)
            log = await factories.history(clients[0], id)
            check(log, [outcome for outcome in outcomes if outcome[0] == id])
            types = Counter(event["type"] for event in log)
            assert await paused_and_unpaused(temporal_client, id) == Counter(
                {type: types[type] for type in TOLD.values()}
            )
            described = await temporal_client.get_workflow_handle(workflow_id(id)).describe()
            ends[log[-1]["status"]] += 1
            assert described.status is (CANCELED if log[-1]["status"] == "CANCELLED" else TERMINATED)
        assert ends["CANCELLED"] > 0


def check(log: list[dict[str, Any]], outcomes: list[Outcome]) -> None:
    """That the log goes one legal way, and tells each action that was taken, once."""
    statuses = [event["status"] for event in log]
    changes = {(before, after) for before, after in pairwise(statuses) if before != after}
    assert changes <= LEGAL
    types = Counter(event["type"] for event in log)
    taken = Counter(action for _, action, kind in outcomes if kind.endswith("Success"))
    # Whether Temporal took what it did not answer in time is not known.
    unsure = Counter(action for _, action, kind in outcomes if kind == "UnavailableError")
    for action, type in TOLD.items():
        assert taken[action] <= types[type] <= taken[action] + unsure[action]
    ends = {action: types[type] for action, type in ENDS.items()}
    assert sum(ends.values()) == 1
    assert log[-1]["type"] in ENDS.values()
    for action in ("complete", "terminate"):
        assert taken[action] <= ends[action] <= taken[action] + unsure[action]
    asked_to_cancel = types["EXECUTION_CANCEL_REQUESTED"]
    assert min(taken["cancel"], 1) <= asked_to_cancel <= min(taken["cancel"] + unsure["cancel"], 1)
    assert ends["cancel"] <= asked_to_cancel
