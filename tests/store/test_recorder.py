"""However a history is read, by however many trackers, the log of it is the same."""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from temporalio.api.enums.v1 import EventType as Kind
from temporalio.api.history.v1 import HistoryEvent

from app import recorder
from app.history import Step, Transcript
from app.records import ExecutionRecord
from app.store import executions, tracking
from app.store.tracking import Run, Tracked
from app.tables import EventType, ExecutionStatus, FailureReason
from tests.store.rows import ALICE, NOW, Rows, draft, run_of, told
from tests.store.statements import recorded

STARTED = [["WORKFLOW_EXECUTION_STARTED"], ["WORKFLOW_TASK_SCHEDULED"]]
MIDDLE = [
    ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"],
    ["ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"],
    ["ACTIVITY_TASK_SCHEDULED"],
    ["TIMER_STARTED", "TIMER_FIRED"],
    ["WORKFLOW_EXECUTION_SIGNALED"],
    ["WORKFLOW_EXECUTION_PAUSED", "WORKFLOW_EXECUTION_UNPAUSED"],
    ["MARKER_RECORDED"],
]
ENDS = [
    ["WORKFLOW_EXECUTION_COMPLETED"],
    ["WORKFLOW_EXECUTION_FAILED"],
    ["WORKFLOW_EXECUTION_TIMED_OUT"],
    ["WORKFLOW_EXECUTION_CANCELED"],
    ["WORKFLOW_EXECUTION_PAUSED"],
    [],
]
CONTINUED = ["WORKFLOW_EXECUTION_CONTINUED_AS_NEW"]

Names = list[str]


def middles(size: int) -> st.SearchStrategy[list[Names]]:
    return st.lists(st.sampled_from(MIDDLE), max_size=size)


CHAINS = st.tuples(
    st.lists(middles(3).map(lambda parts: [*STARTED, *parts, CONTINUED]), max_size=2),
    st.tuples(middles(6), st.booleans(), st.sampled_from(ENDS)).map(
        lambda run: [
            *STARTED,
            *run[0],
            *([["WORKFLOW_EXECUTION_CANCEL_REQUESTED"]] if run[1] else []),
            run[2],
        ]
    ),
).map(lambda chain: [[name for part in run for name in part] for run in (*chain[0], chain[1])])
"""Executions of one to three runs, each its events' names."""


@dataclass(frozen=True)
class Page:
    """What one reading of a history gave: some steps of one run, perhaps out of order."""

    run: int
    start: int
    length: int
    shuffled: bool

    def of(self, chain: list[tuple[Run, list[Step]]], random: Random) -> tuple[Run, list[Step]]:
        run, steps = chain[self.run % len(chain)]
        found = steps[self.start : self.start + self.length]
        if self.shuffled:
            random.shuffle(found)
        return run, found


PAGES = st.lists(
    st.builds(Page, st.integers(0, 2), st.integers(0, 15), st.integers(1, 15), st.booleans()), max_size=8
)


def steps_of(names: Names, next_run_id: str | None = None) -> list[Step]:
    """One run's history, read."""
    transcript = Transcript()
    return [transcript.read(event(id, name, next_run_id)) for id, name in enumerate(names, start=1)]


def event(id: int, name: str, next_run_id: str | None) -> HistoryEvent:
    found = HistoryEvent(event_id=id, event_type=Kind.Value(f"EVENT_TYPE_{name}"))
    # A history's events never stand at the same time, so that what is out of order shows.
    found.event_time.FromMicroseconds(int(NOW.timestamp()) * 1_000_000 + id)
    if name in CONTINUED:
        found.workflow_execution_continued_as_new_event_attributes.new_execution_run_id = next_run_id or ""
    if name == "WORKFLOW_EXECUTION_SIGNALED":
        found.workflow_execution_signaled_event_attributes.signal_name = f"signal {id}"
    return found


def chained(execution: ExecutionRecord, runs: list[Names]) -> list[tuple[Run, list[Step]]]:
    """The runs of one execution, each leading to the next."""
    first = run_of(execution)
    ids = [first.run_id, *(f"{execution.id}-{number}" for number in range(2, len(runs) + 1)), None]
    return [
        (
            Run(first.execution_id, first.owner_id, first.temporal_workflow_id, str(id)),
            steps_of(names, next_id),
        )
        for id, next_id, names in zip(ids, ids[1:], runs, strict=False)
    ]


async def record(rows: Rows, pages: list[tuple[Run, list[Step]]]) -> None:
    for run, steps in pages:
        await recorder.record(rows.db, run, steps)


async def tracked(rows: Rows, execution: ExecutionRecord) -> Tracked:
    async with rows.db.write() as tx:
        return await tracking.lock(tx, execution.id)


async def log(rows: Rows, execution: ExecutionRecord) -> list[tuple[Any, ...]]:
    """What is recorded of an execution, its identities aside."""
    return [
        (each.version, each.type, each.status, each.message, each.timestamp, each.actor)
        for each in await rows.feed(execution.owner_id)
        if each.execution_id == execution.id
    ]


async def outcome(
    rows: Rows, execution: ExecutionRecord, runs: list[tuple[Run, list[Step]]]
) -> tuple[Any, ...]:
    """What the execution came to, its runs by their number."""
    now = await tracked(rows, execution)
    async with rows.db.read() as connection:
        payloads = told((await executions.payloads(connection, ALICE, [execution.id]))[execution.id])
    found, ids = now.execution, [run.run_id for run, _ in runs]
    assert found.temporal_run_id is not None
    return (
        (found.status, found.version, found.failure, found.started_at, found.completed_at, payloads),
        (ids.index(found.temporal_run_id), now.next_history_event, now.cancel_requested_at),
    )


@given(runs=CHAINS, one=PAGES, other=PAGES, random=st.randoms(use_true_random=False))
@settings(
    max_examples=15,
    # Each example is several transactions: a failure is told as it was found.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_shuffled_pages_from_two_recorders_give_the_log_of_one_ordered_reading(
    rows: Rows, runs: list[Names], one: list[Page], other: list[Page], random: Random
) -> None:
    workflow = await rows.workflow()
    execution, model = await rows.running(workflow), await rows.running(workflow)
    history = chained(execution, runs)
    await record(rows, chained(model, runs))
    expected = await log(rows, model)

    await asyncio.gather(
        record(rows, [page.of(history, random) for page in one]),
        record(rows, [page.of(history, random) for page in other]),
    )
    so_far = await log(rows, execution)
    await asyncio.gather(record(rows, history), record(rows, [(run, steps[:7]) for run, steps in history]))
    await record(rows, history)

    assert so_far == expected[: len(so_far)]
    assert await log(rows, execution) == expected
    assert await outcome(rows, execution, history) == await outcome(rows, model, chained(model, runs))
    drafts = [step.draft for _, steps in history for step in steps if step.draft]
    told = [draft for draft in drafts if draft.type is not EventType.EXECUTION_STARTED]
    assert [(type, moment) for _, type, _, _, moment, _ in expected[2:]] == [
        (draft.type, draft.timestamp) for draft in told
    ]


async def test_steps_behind_a_gap_are_left_for_the_next_reading(rows: Rows) -> None:
    execution = await rows.running()
    ((run, steps),) = chained(
        execution, [["WORKFLOW_EXECUTION_STARTED", *["WORKFLOW_EXECUTION_SIGNALED"] * 5]]
    )

    await recorder.record(rows.db, run, steps[3:])
    nothing = await tracked(rows, execution)
    await recorder.record(rows.db, run, [steps[1], steps[2], steps[4]])
    some = await tracked(rows, execution)
    await recorder.record(rows.db, run, steps)
    everything = await tracked(rows, execution)

    assert (nothing.next_history_event, nothing.execution.version) == (2, 2)
    assert (some.next_history_event, some.execution.version) == (4, 4)
    assert (everything.next_history_event, everything.execution.version) == (7, 7)


async def test_what_tells_nothing_is_counted_and_no_event(rows: Rows) -> None:
    execution = await rows.running()
    ((run, steps),) = chained(execution, [["WORKFLOW_EXECUTION_STARTED", *MIDDLE[0]]])

    await recorder.record(rows.db, run, steps)

    now = await tracked(rows, execution)
    assert (now.next_history_event, now.execution) == (5, execution)


@pytest.mark.parametrize("name", ["WORKFLOW_EXECUTION_SIGNALED", "MARKER_RECORDED"])
async def test_what_another_tracker_was_quicker_to_record_is_not_recorded_again(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    execution = await rows.running()
    ((run, steps),) = chained(execution, [["WORKFLOW_EXECUTION_STARTED", *[name] * 3]])
    before = await tracked(rows, execution)
    await recorder.record(rows.db, run, steps[:3])

    async def late(*_: Any) -> Tracked:
        return before

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "get", late)
        await recorder.record(rows.db, run, steps[:2])
        assert (await tracked(rows, execution)).next_history_event == 4
        await recorder.record(rows.db, run, steps)

    told = [type for _, type, *_ in await log(rows, execution)][2:]
    assert (await tracked(rows, execution)).next_history_event == 5
    assert told == ([EventType.SIGNAL_RECEIVED] * 3 if name == "WORKFLOW_EXECUTION_SIGNALED" else [])


async def test_a_page_is_recorded_in_one_statement_and_one_that_is_known_in_none(rows: Rows) -> None:
    execution = await rows.running()
    ((run, steps),) = chained(
        execution, [["WORKFLOW_EXECUTION_STARTED", *["WORKFLOW_EXECUTION_SIGNALED"] * 3]]
    )

    with recorded(rows.db) as said:
        await recorder.record(rows.db, run, steps)
        await recorder.record(rows.db, run, steps)

    assert ["INSERT" in each.text for each in said] == [False, True, False]


async def test_an_execution_goes_on_in_the_run_that_carries_it_on(rows: Rows) -> None:
    execution = await rows.running()
    first, second = chained(
        execution,
        [
            ["WORKFLOW_EXECUTION_STARTED", *CONTINUED],
            ["WORKFLOW_EXECUTION_STARTED", "WORKFLOW_EXECUTION_SIGNALED", "WORKFLOW_EXECUTION_COMPLETED"],
        ],
    )

    await record(rows, [second, first])
    between = await tracked(rows, execution)
    await record(rows, [first, second, first, second])

    assert between.execution.status is ExecutionStatus.RUNNING
    assert (between.execution.temporal_run_id, between.next_history_event) == (second[0].run_id, 1)
    assert [type for _, type, *_ in await log(rows, execution)] == [
        EventType.EXECUTION_CREATED,
        EventType.EXECUTION_STARTED,
        EventType.EXECUTION_CONTINUED,
        EventType.SIGNAL_RECEIVED,
        EventType.EXECUTION_COMPLETED,
    ]
    ended = (await tracked(rows, execution)).execution
    assert (ended.status, ended.temporal_run_id) == (ExecutionStatus.COMPLETED, second[0].run_id)


async def test_a_reset_goes_on_behind_its_fork(rows: Rows) -> None:
    execution = await rows.running()
    run, fork = run_of(execution), str(uuid4())
    reset = Step(3, draft(EventType.EXECUTION_CONTINUED), next_run_id=fork, next_event_id=5)
    again = steps_of(["WORKFLOW_EXECUTION_STARTED", *["WORKFLOW_EXECUTION_SIGNALED"] * 5])

    await recorder.record(rows.db, run, [*again[:2], reset])
    await recorder.record(rows.db, Run(run.execution_id, run.owner_id, run.temporal_workflow_id, fork), again)

    assert [message for _, _, _, message, *_ in await log(rows, execution)][2:] == [
        "Signal signal 2 received",
        "Execution_continued",
        "Signal signal 5 received",
        "Signal signal 6 received",
    ]


async def test_an_execution_that_has_ended_takes_nothing_more(rows: Rows) -> None:
    execution = await rows.running()
    ((run, steps),) = chained(
        execution, [["WORKFLOW_EXECUTION_STARTED", *["WORKFLOW_EXECUTION_SIGNALED"] * 2]]
    )
    await rows.append(execution.id, draft(EventType.EXECUTION_FAILED, ExecutionStatus.FAILED))
    before = await tracked(rows, execution)

    await recorder.record(rows.db, run, steps)

    assert await tracked(rows, execution) == before
    assert len(await log(rows, execution)) == 3


async def test_a_run_that_is_not_the_executions_is_not_recorded(rows: Rows) -> None:
    pending, running = await rows.pending(), await rows.running()
    names = ["WORKFLOW_EXECUTION_STARTED", "WORKFLOW_EXECUTION_COMPLETED"]

    for execution in (pending, running):
        other = Run(execution.id, execution.owner_id, execution.temporal_workflow_id, "another run")
        await recorder.record(rows.db, other, steps_of(names))
        await recorder.lose(rows.db, other)

    assert await rows.execution(pending.id) == pending
    assert await rows.execution(running.id) == running


async def test_a_cancel_request_that_the_api_recorded_is_not_told_twice(rows: Rows) -> None:
    execution = await rows.running()
    await rows.append(execution.id, draft(EventType.EXECUTION_CANCEL_REQUESTED, cancel_requested_at=NOW))
    ((run, steps),) = chained(
        execution,
        [
            [
                "WORKFLOW_EXECUTION_STARTED",
                "WORKFLOW_EXECUTION_CANCEL_REQUESTED",
                "WORKFLOW_EXECUTION_SIGNALED",
                "WORKFLOW_EXECUTION_CANCELED",
            ]
        ],
    )

    await recorder.record(rows.db, run, steps)

    assert [type for _, type, *_ in await log(rows, execution)][2:] == [
        EventType.EXECUTION_CANCEL_REQUESTED,
        EventType.SIGNAL_RECEIVED,
        EventType.EXECUTION_CANCELLED,
    ]
    assert (await tracked(rows, execution)).cancel_requested_at == NOW


async def test_an_execution_that_temporal_lost_has_failed_once(rows: Rows) -> None:
    execution = await rows.running()

    await asyncio.gather(*(recorder.lose(rows.db, run_of(execution)) for _ in range(3)))

    lost = await rows.execution(execution.id)
    assert (lost.status, lost.version) == (ExecutionStatus.FAILED, 3)
    assert lost.failure is not None
    assert lost.failure["reason"] == FailureReason.LOST
    assert lost.completed_at is not None
