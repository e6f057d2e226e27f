"""Starts: what a server adds to Temporal's own client, and to the two transactions that a start needs."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from benchmarks import documents, load
from benchmarks.contestants import (
    LIMITS,
    NODE,
    PRODUCT,
    REST,
    Contestant,
    Run,
    Stage,
    all_served,
    got,
    operation,
    token,
)
from benchmarks.data import OWNER, Rows
from benchmarks.load import Answers
from benchmarks.measures import CONNECTIONS, Figures, compared, figures, say
from benchmarks.processes import Process, cpu_seconds

CONTESTANTS = (PRODUCT, REST, NODE, LIMITS)
STARTS, FEWEST_STARTS = 1_200, 16
INPUT = {"order": 1}


class NotStarted(Exception):
    """A server answered, but not with an execution that runs."""


async def starts(stage: Stage, run: Run, rows: Rows) -> dict[str, Any]:
    """The figures by contestant; the executions are of a task queue that nobody polls."""
    count, contestants = max(int(STARTS * run.scale), FEWEST_STARTS), run.among(CONTESTANTS)
    taken: dict[str, list[Figures]] = defaultdict(list)
    async with all_served(contestants, stage) as processes:
        await _check(contestants, processes, rows.workflow_id)
        for number in range(run.rounds + 1):
            # The product's turn comes right after the limit's.
            for contestant in (*contestants[1:], *contestants[:1]):
                process = processes[contestant.name]
                found = await _started(contestant, process, rows.workflow_id, stage.postgres_pid, count)
                if number:
                    taken[contestant.name].append(found)
                    say(f"  start, round {number}: {contestant.name} {found['cpu_ms']:.2f} ms CPU")
    return compared({each.name: taken[each.name] for each in contestants})


async def _check(contestants: Sequence[Contestant], processes: Mapping[str, Process], workflow: UUID) -> None:
    """Raise NotStarted unless an execution runs for each who asks for one."""
    for contestant in (each for each in contestants if each is not LIMITS):
        answer = await load.ask(processes[contestant.name].port, _request(contestant, workflow))
        if b"RUNNING" not in answer:
            raise NotStarted(answer.decode())


async def _started(
    contestant: Contestant, process: Process, workflow: UUID, postgres_pid: int, count: int
) -> Figures:
    before, postgres_before = process.cpu_seconds(), cpu_seconds(postgres_pid)
    answers = await _answers(contestant, process, workflow, count)
    return figures(answers, process.cpu_seconds() - before, cpu_seconds(postgres_pid) - postgres_before)


async def _answers(contestant: Contestant, process: Process, workflow: UUID, count: int) -> Answers:
    if contestant is not LIMITS:
        return await load.drive_through(process.port, [_request(contestant, workflow)] * count, CONNECTIONS)
    began = time.perf_counter()
    asked = got("/starts", owner=OWNER, workflow=workflow, count=count, at_once=CONNECTIONS)
    await load.ask(process.port, asked)
    # All of them in one request, which has no more to do with them: each takes its share of the time.
    seconds = time.perf_counter() - began
    return Answers(seconds, [seconds / count * CONNECTIONS] * count)


def _request(contestant: Contestant, workflow: UUID) -> bytes:
    given = {"workflowId": str(workflow), "input": INPUT}
    if contestant is PRODUCT:
        return operation(documents.START, input=given)
    if contestant is NODE:
        return operation(documents.NODE_START, input=given)
    body = b'{"workflow_id": "%b", "input": {"order": 1}}' % str(workflow).encode()
    return load.post("/executions", token(OWNER), body)
