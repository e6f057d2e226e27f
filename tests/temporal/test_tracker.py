"""The tracker against a real Temporal: whatever happens there is in the log, each event once, in order."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlmodel import col, select
from temporalio.common import RetryPolicy

from app import doorbells, temporal
from app.tables import ExecutionStatus, Feed, Sweep
from tests import factories
from tests.client import Api
from tests.eventually import eventually
from tests.factories import FEED
from tests.temporal.scene import (
    DEAD_ADDRESS,
    Breakable,
    Deaf,
    Hasty,
    Observed,
    Scene,
    failures,
    followed,
    warnings,
    workflow_id,
)

GREETED = [
    "CHILD_STARTED",
    "CHILD_COMPLETED",
    "ACTIVITY_SCHEDULED",
    "ACTIVITY_STARTED",
    "ACTIVITY_COMPLETED",
    "EXECUTION_COMPLETED",
]


@asynccontextmanager
async def tracked(scene: Scene, follow: bool) -> AsyncIterator[str]:
    """A waiting execution that the tracker follows, or one that it has no room to follow."""
    async with scene.tracker(follow_limit=1) as tracker:
        id = await scene.waiting()
        last = id if follow else await scene.waiting()
        await eventually(lambda: followed(tracker) == {last})
        await scene.history_reaches(id, "workflow_task_completed_event_attributes")
        yield id


both_ways = pytest.mark.parametrize("follow", [True, False], ids=["followed", "swept"])


# Chains of runs


async def test_a_workflow_that_continues_as_new(scene: Scene) -> None:
    async with scene.tracker():
        id = await scene.start("CountdownWorkflow", 3)

        log = await scene.reaches(id, *["EXECUTION_CONTINUED"] * 3, "EXECUTION_COMPLETED")

    row = await scene.row(id)
    runs = [entry.details["runId"] for entry in log[2:5]]
    assert [entry.status for entry in log] == ["PENDING", *["RUNNING"] * 4, "COMPLETED"]
    assert len(set(runs)) == 3
    assert (row.status, row.output, row.temporal_run_id) == ("COMPLETED", "lift-off", runs[-1])


async def test_a_chain_of_runs_that_was_started_but_not_recorded_as_started(scene: Scene) -> None:
    id = await scene.insert("CountdownWorkflow", input=3)
    await scene.temporal.execute_workflow("CountdownWorkflow", 3, id=workflow_id(id), task_queue=scene.queue)

    async with scene.tracker():
        log = await scene.reaches(id, *["EXECUTION_CONTINUED"] * 3, "EXECUTION_COMPLETED")

    assert len({entry.details["runId"] for entry in log[2:5]}) == 3
    assert not (await scene.row(id)).start_unsettled


@both_ways
async def test_a_workflow_that_is_retried(scene: Scene, follow: bool) -> None:
    id = await scene.insert("StumblingWorkflow", input=3)
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1)
    async with AsyncExitStack() as trackers:
        if follow:
            await trackers.enter_async_context(scene.tracker(start_grace_seconds=0.01))
        handle = await scene.temporal.start_workflow(
            "StumblingWorkflow", 3, id=workflow_id(id), task_queue=scene.queue, retry_policy=policy
        )
        await handle.result()
        if not follow:
            await scene.waiting()
            await trackers.enter_async_context(scene.tracker(follow_limit=1, start_grace_seconds=0.01))

        log = await scene.reaches(id, *["EXECUTION_CONTINUED"] * 2, "EXECUTION_COMPLETED")

    assert [entry.message for entry in log[2:4]] == [
        f"Failed: stumbled on attempt {attempt}; continued in a new run" for attempt in (1, 2)
    ]
    assert [entry.status for entry in log[2:]] == ["RUNNING", "RUNNING", "COMPLETED"]
    assert (await scene.row(id)).output == 3


@both_ways
async def test_a_run_that_is_reset(scene: Scene, follow: bool) -> None:
    async with tracked(scene, follow) as id:
        first_run = (await scene.row(id)).temporal_run_id
        await scene.handle(id).signal("unheard of", "before")
        await scene.history_reaches(id, "workflow_execution_signaled_event_attributes")

        await scene.cli("reset", id, "--type", "LastWorkflowTask", "--reason", "a test")
        await scene.approve(id)

        log = await scene.reaches(id, "SIGNAL_RECEIVED", "EXECUTION_CONTINUED", "SIGNAL_RECEIVED", *GREETED)

    row = await scene.row(id)
    assert log[3].message == "Reset to an earlier point"
    assert log[3].details == {"runId": row.temporal_run_id}
    assert row.temporal_run_id != first_run
    assert [entry.details["signal"] for entry in (log[2], log[4])] == ["unheard of", "approve"]
    assert [entry.status for entry in log[2:]] == [*["RUNNING"] * 8, "COMPLETED"]


@both_ways
async def test_a_paused_run_that_is_reset_goes_on(scene: Scene, follow: bool) -> None:
    async with tracked(scene, follow) as id:
        await scene.pause(id, "")
        await scene.reaches(id, "EXECUTION_PAUSED")

        await scene.cli("reset", id, "--type", "LastWorkflowTask", "--reason", "a test")
        log = await scene.reaches(id, "EXECUTION_PAUSED", "EXECUTION_CONTINUED")
        assert [entry.status for entry in log[2:]] == ["PAUSED", "RUNNING"]

        await scene.pause(id, "")
        await scene.reaches(id, "EXECUTION_PAUSED", "EXECUTION_CONTINUED", "EXECUTION_PAUSED")
        assert (await scene.row(id)).status == "PAUSED"


async def test_a_run_that_ends_because_an_earlier_one_is_reset(scene: Scene) -> None:
    async with scene.tracker():
        id = await scene.waiting()
        first_run = str((await scene.row(id)).temporal_run_id)
        await scene.history_reaches(id, "workflow_task_completed_event_attributes")
        await scene.cli("reset", id, "--type", "LastWorkflowTask", "--reason", "one")
        await scene.reaches(id, "EXECUTION_CONTINUED")

        reset = ("--type", "FirstWorkflowTask", "--reason", "two", "--run-id", first_run)
        await scene.cli("reset", id, *reset)
        await scene.approve(id)

        log = await scene.reaches(id, *["EXECUTION_CONTINUED"] * 2, "SIGNAL_RECEIVED", *GREETED)

    assert len({first_run, *(entry.details["runId"] for entry in log[2:4])}) == 3
    assert (await scene.row(id)).status == "COMPLETED"


# What Temporal's own tools do


@both_ways
async def test_a_run_that_is_terminated_from_outside(scene: Scene, follow: bool) -> None:
    async with tracked(scene, follow) as id:
        await scene.cli("terminate", id, "--reason", "enough of it")

        log = await scene.reaches(id, "EXECUTION_FAILED")

    assert (log[2].status, log[2].message, log[2].actor) == ("FAILED", "Terminated: enough of it", None)
    failure = (await scene.row(id)).failure
    assert (failure["reason"], failure["message"]) == ("TERMINATED", "Terminated: enough of it")


@both_ways
async def test_a_run_that_is_cancelled_from_outside(scene: Scene, follow: bool) -> None:
    async with tracked(scene, follow) as id:
        await scene.cli("cancel", id)

        log = await scene.reaches(id, "EXECUTION_CANCEL_REQUESTED", "EXECUTION_CANCELLED")

    assert [entry.status for entry in log[2:]] == ["RUNNING", "CANCELLED"]
    assert [entry.actor for entry in log[2:]] == [None, None]


@both_ways
async def test_a_run_that_is_signalled_from_outside(scene: Scene, follow: bool) -> None:
    async with tracked(scene, follow) as id:
        await scene.cli("signal", id, "--name", "unheard of", "--input", '{"a": [1, null]}')
        await scene.cli("signal", id, "--name", "approve")

        log = await scene.reaches(id, "SIGNAL_RECEIVED", "SIGNAL_RECEIVED", *GREETED)

    assert log[2].details == {"signal": "unheard of", "arguments": [{"a": [1, None]}]}
    assert (await scene.row(id)).output == ["Hello, Ada!", "Goodbye, Ada!"]


@both_ways
async def test_a_run_that_is_paused_and_unpaused_from_outside(scene: Scene, follow: bool) -> None:
    async with tracked(scene, follow) as id:
        await scene.pause(id, "a look at it")
        log = await scene.reaches(id, "EXECUTION_PAUSED")
        assert (log[2].status, log[2].message) == ("PAUSED", "Paused: a look at it")
        assert (await scene.row(id)).status == "PAUSED"

        await scene.unpause(id, "looks good")
        log = await scene.reaches(id, "EXECUTION_PAUSED", "EXECUTION_RESUMED")
        assert (log[3].status, log[3].message) == ("RUNNING", "Resumed: looks good")
        assert (await scene.row(id)).status == "RUNNING"

        await scene.approve(id)
        await scene.reaches(id, "EXECUTION_PAUSED", "EXECUTION_RESUMED", "SIGNAL_RECEIVED", *GREETED)


async def test_a_run_that_is_paused_is_asked_about_at_intervals(scene: Scene) -> None:
    observed = scene.observed()
    async with scene.tracker(observed, tracker_poll_seconds=0.1):
        id = await scene.waiting()
        await scene.history_reaches(id, "workflow_task_completed_event_attributes")
        await scene.pause(id, "")
        await scene.reaches(id, "EXECUTION_PAUSED")
        await eventually(lambda: observed.calls["history length"] >= 2)

        before, began = observed.calls.copy(), datetime.now(UTC)
        await eventually(lambda: observed.calls["history length"] >= before["history length"] + 5)
        seconds = (datetime.now(UTC) - began).total_seconds()

        assert seconds >= 0.4
        # The comparison with visibility may read once what visibility is late to know.
        assert observed.calls["history"] <= before["history"] + 1
        assert observed.calls["sweeps"] <= before["sweeps"] + seconds / 0.1 + 1

        await scene.approve(id)
        await scene.unpause(id, "")
        await scene.ends(id)


async def test_a_run_that_has_ended_is_not_asked_about(scene: Scene) -> None:
    observed = scene.observed()
    async with scene.tracker(observed) as tracker:
        id = await scene.waiting()
        await eventually(lambda: followed(tracker) == {id})
        await scene.approve(id)
        await scene.ends(id)
        await eventually(lambda: not followed(tracker))

    assert observed.calls["history length"] == 0


async def test_a_pause_that_a_long_poll_did_not_tell_is_recorded(scene: Scene) -> None:
    hasty = Hasty(scene.temporal)
    async with scene.tracker(hasty, tracker_poll_seconds=0.1):
        id = await scene.waiting()
        await scene.pause(id, "")

        await scene.reaches(id, "EXECUTION_PAUSED")

    assert hasty.withheld


# Runs that Temporal does not have


async def test_what_a_tracker_cannot_follow_is_left_to_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.tracker.RETRY_SECONDS", 0.1)
    async with scene.tracker(Deaf(scene.temporal)) as deaf:
        id = await scene.waiting()
        await eventually(lambda: followed(deaf) == {id})

        async with scene.tracker() as other:
            await eventually(lambda: followed(other) == {id})


async def test_a_run_that_temporal_does_not_have_is_lost(scene: Scene) -> None:
    lost = {"temporal_run_id": str(uuid4()), "status": ExecutionStatus.RUNNING, "start_unsettled": False}
    old = await scene.insert("GreetingWorkflow", **lost, created_at=datetime.now(UTC) - timedelta(hours=1))
    young = await scene.insert("GreetingWorkflow", **lost)
    settings: dict[str, Any] = {"reconcile_after_seconds": 0.2, "lost_after_seconds": 1_000.0}

    async with scene.tracker(**settings), scene.tracker(**settings):
        row = await scene.ends(old)
        confirmed_at = (await scene.row(young)).confirmed_at
        await eventually(lambda: confirmed_again(scene, young, confirmed_at))

    assert await scene.types(old) == ["EXECUTION_CREATED", "EXECUTION_FAILED"]
    assert (row.status, row.failure["reason"]) == ("FAILED", "LOST")
    assert await scene.types(young) == ["EXECUTION_CREATED"]
    assert (await scene.row(young)).status == "RUNNING"


async def test_an_execution_whose_run_is_gone_goes_on_in_a_later_one(scene: Scene) -> None:
    """It continued as new, and the retention of the run before has ended meanwhile."""
    gone = {"temporal_run_id": str(uuid4()), "status": ExecutionStatus.RUNNING, "start_unsettled": False}
    id = await scene.insert("GreetingWorkflow", **gone, created_at=datetime.now(UTC) - timedelta(hours=1))
    handle = await scene.temporal.start_workflow(
        "GreetingWorkflow", "Ada", id=workflow_id(id), task_queue=scene.queue
    )

    async with scene.tracker(reconcile_after_seconds=0.2, lost_after_seconds=1.0):
        await eventually(lambda: goes_on_in(scene, id, handle.first_execution_run_id))
        await scene.approve(id)
        row = await scene.ends(id)

    log = await scene.log(id)
    assert [entry.type for entry in log] == [
        "EXECUTION_CREATED",
        "EXECUTION_CONTINUED",
        "SIGNAL_RECEIVED",
        *GREETED,
    ]
    assert log[1].details == {"runId": handle.first_execution_run_id}
    assert row.status == "COMPLETED"


async def goes_on_in(scene: Scene, id: str, run_id: str | None) -> bool:
    return (await scene.row(id)).temporal_run_id == run_id


async def test_no_run_is_lost_because_the_namespace_is(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    id = await scene.waiting()
    elsewhere = Observed(await temporal.connect(scene.settings.temporal_address, "elsewhere"))
    lost: dict[str, Any] = {"reconcile_after_seconds": 0.1, "lost_after_seconds": 0.1}

    async with scene.tracker(elsewhere, **lost):
        await eventually(lambda: elsewhere.calls["history length"] >= 3)

    assert await scene.types(id) == ["EXECUTION_CREATED", "EXECUTION_STARTED"]
    assert "The tracker cannot reconcile: Namespace elsewhere is not found." in caplog.messages


async def confirmed_again(scene: Scene, id: str, before: datetime) -> bool:
    return (await scene.row(id)).confirmed_at > before + timedelta(seconds=0.2)


# Several trackers


async def test_each_run_is_followed_by_one_tracker_and_taken_over(scene: Scene) -> None:
    ids = {await scene.waiting() for _ in range(6)}
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(scene.tracker(follow_limit=4))
        await eventually(lambda: len(followed(first)) == 4)

        async with scene.tracker() as second:
            await eventually(lambda: followed(first) | followed(second) == ids)
            assert not followed(first) & followed(second)

            await stack.aclose()
            await eventually(lambda: followed(second) == ids)
            for id in ids:
                await scene.approve(id)
            for id in ids:
                await scene.reaches(id, "SIGNAL_RECEIVED", *GREETED)


async def test_the_work_of_a_tracker_that_died_is_taken_over(scene: Scene, breakable: Breakable) -> None:
    ids = {await scene.waiting() for _ in range(3)}
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(scene.tracker(db=breakable))
        await eventually(lambda: followed(first) == ids)
        breakable.away = True
        await stack.aclose()

        async with scene.tracker() as second:
            await scene.change(next(iter(ids)), tracker_id=first._id)
            await eventually(lambda: followed(second) == ids)


async def test_a_tracker_that_was_taken_for_dead_gives_up_what_others_follow(
    scene: Scene, breakable: Breakable
) -> None:
    ids = {await scene.waiting() for _ in range(3)}
    async with scene.tracker(db=breakable, tracker_alive_seconds=1.5) as first:
        await eventually(lambda: followed(first) == ids)
        async with scene.tracker() as second:
            breakable.away = True
            await eventually(lambda: followed(second) == ids)
            assert followed(first) == ids

            breakable.away = False
            await eventually(lambda: not followed(first))
            await scene.approve(id := ids.pop())
            await scene.reaches(id, "SIGNAL_RECEIVED", *GREETED)
            await eventually(lambda: followed(second) == ids)


async def test_one_tracker_sweeps_and_the_next_goes_on_where_it_came_to(scene: Scene) -> None:
    one, two = scene.observed(), scene.observed()
    alone: dict[str, Any] = {"follow_limit": 1, "tracker_alive_seconds": 60.0}
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(scene.tracker(one, **alone))
        await eventually(lambda: one.calls["sweeps"] >= 1)
        async with scene.tracker(two, **alone):
            ended = await scene.start("PaymentWorkflow", {"succeed_on_attempt": 1})
            closed_at = (await scene.ends(ended)).completed_at
            assert closed_at is not None
            reached = await eventually(lambda: swept_through(scene, closed_at))
            assert ((await sweep(scene)).holder, two.calls["sweeps"]) == (first._id, 0)

            await stack.aclose()
            await eventually(lambda: two.calls["sweeps"] >= 2)
            assert (await sweep(scene)).watermark >= reached


async def sweep(scene: Scene) -> Any:
    async with scene.services.db.read() as connection:
        return (await connection.execute(select(col(Sweep.holder), col(Sweep.watermark)))).one()


async def swept_through(scene: Scene, moment: datetime) -> datetime | None:
    watermark: datetime = (await sweep(scene)).watermark
    return watermark if watermark >= moment else None


async def test_what_happened_while_no_tracker_ran_is_recorded(scene: Scene) -> None:
    payment = await factories.workflow(scene.alice, scene.queue, "PaymentWorkflow")
    started = [await factories.start(scene.alice, payment, {"succeed_on_attempt": 1}) for _ in range(5)]
    ids = [each["id"] for each in started]
    waiting = await scene.waiting()
    await scene.handle(waiting).signal("unheard of")
    for id in ids:
        await scene.handle(id).result()

    async with scene.tracker(follow_limit=1):
        for id in ids:
            await scene.reaches(
                id, "ACTIVITY_SCHEDULED", "ACTIVITY_STARTED", "ACTIVITY_COMPLETED", "EXECUTION_COMPLETED"
            )
        await scene.reaches(waiting, "SIGNAL_RECEIVED")


# What is followed


async def test_no_more_runs_are_followed_than_the_limit(scene: Scene) -> None:
    greeting = await factories.workflow(scene.alice, scene.queue, "GreetingWorkflow")
    observed = scene.observed()
    started = await asyncio.gather(*(factories.start(scene.alice, greeting, "Ada") for _ in range(30)))
    rows = [await scene.row(each["id"]) for each in started]
    ids = [str(row.id) for row in sorted(rows, key=lambda row: row.created_at)]

    async with scene.tracker(observed, follow_limit=10) as tracker:
        await eventually(lambda: observed.polls == 10)
        assert followed(tracker) == set(ids[20:])

        # Each that ends makes room for the newest of the rest.
        for id in ids[25:]:
            await scene.approve(id)
        await eventually(lambda: followed(tracker) == set(ids[15:25]))

        new = (await factories.start(scene.alice, greeting, "Ada"))["id"]
        await eventually(lambda: followed(tracker) == {new, *ids[16:25]})
        await scene.approve(new)
        await scene.reaches(new, "SIGNAL_RECEIVED", *GREETED)

        # What nobody follows is recorded when it ends.
        await scene.approve(ids[0])
        await scene.reaches(ids[0], "SIGNAL_RECEIVED", *GREETED)
    assert observed.most_polls <= 10
    assert observed.polls == 0


async def test_what_is_watched_is_followed_first(scene: Scene, api: Api) -> None:
    async with api.client("bob") as bob, scene.tracker(follow_limit=3) as tracker:
        bobs = [await scene.waiting(bob) for _ in range(2)]
        alices = [await scene.waiting() for _ in range(4)]
        await eventually(lambda: followed(tracker) == set(alices[1:]))

        doorbells.tell_watched(scene.services.bus, ["bob", "nobody"])
        await eventually(lambda: followed(tracker) == {*bobs, alices[3]})

        new = await scene.waiting()
        await eventually(lambda: followed(tracker) == {*bobs, new})


async def test_what_somebody_begins_to_watch_is_followed_at_once(scene: Scene, api: Api) -> None:
    watched = await scene.waiting()
    async with api.client("bob") as bob, scene.alice.socket() as socket:
        other = await scene.waiting(bob)
        async with scene.tracker(follow_limit=1, tracker_poll_seconds=1_000.0) as tracker:
            await eventually(lambda: followed(tracker) == {other})

            await socket.subscribe("1", FEED)

            await eventually(lambda: followed(tracker) == {watched})


async def test_what_one_tracker_has_no_room_for_another_takes(scene: Scene) -> None:
    old = await scene.waiting()
    async with scene.tracker(follow_limit=1) as first, scene.tracker(follow_limit=1) as second:
        await eventually(lambda: followed(first) | followed(second) == {old})
        new = [await scene.waiting() for _ in range(2)]

        await eventually(lambda: followed(first) | followed(second) == set(new))
        await scene.approve(new[0])
        await eventually(lambda: followed(first) | followed(second) == {old, new[1]})


async def test_messages_that_say_nothing_do_no_harm(scene: Scene) -> None:
    async with scene.tracker() as tracker:

        def heard() -> bool:
            for message in ("", "{", "17", "null", "[[1]]", '[{"a": 1}]', "[1]", '["\\u0000"]', "NEW"):
                scene.services.bus.publish(doorbells.TRACKERS, message)
            doorbells.tell_watched(scene.services.bus, ["carol"])
            return "carol" in tracker._watched

        await eventually(heard)

        await scene.approve(id := await scene.waiting())
        await scene.reaches(id, "SIGNAL_RECEIVED", *GREETED)


# Starts


async def test_a_start_that_was_left_is_made_once(scene: Scene) -> None:
    id = await scene.insert("PaymentWorkflow", input={"succeed_on_attempt": 1})
    settings: dict[str, Any] = {"start_grace_seconds": 0.01}

    async with scene.tracker(**settings), scene.tracker(**settings):
        await scene.reaches(
            id, "ACTIVITY_SCHEDULED", "ACTIVITY_STARTED", "ACTIVITY_COMPLETED", "EXECUTION_COMPLETED"
        )

    runs = scene.temporal.list_workflows(f'WorkflowId = "{workflow_id(id)}"')
    row = await scene.row(id)
    assert [run.run_id async for run in runs] == [row.temporal_run_id]
    assert not row.start_unsettled


async def test_a_start_that_was_cancelled_meanwhile_is_ended(scene: Scene) -> None:
    cancelled = {"status": ExecutionStatus.CANCELLED, "completed_at": datetime.now(UTC)}
    reached = await scene.insert("GreetingWorkflow")
    unheard = await scene.insert("GreetingWorkflow")
    handle = await scene.temporal.start_workflow(
        "GreetingWorkflow", "Ada", id=workflow_id(reached), task_queue=scene.queue
    )
    await scene.change(reached, **cancelled)
    # Its start cannot be on its way any more.
    await scene.change(unheard, **cancelled, updated_at=datetime.now(UTC) - timedelta(minutes=1))

    async with scene.tracker(start_grace_seconds=0.01):
        await eventually(lambda: settled(scene, reached, unheard))

    assert (await handle.describe()).status.name == "TERMINATED"  # type: ignore[union-attr]
    for id in (reached, unheard):
        assert await scene.types(id) == ["EXECUTION_CREATED"]
        assert (await scene.row(id)).status == "CANCELLED"


async def settled(scene: Scene, *ids: str) -> bool:
    return not any([(await scene.row(id)).start_unsettled for id in ids])


# What workflows may answer


def described(encoding: str, data: bytes) -> dict[str, Any]:
    return {"encoding": encoding, "size": len(data)}


ODD_RESULTS: list[tuple[str, bytes, Any]] = [
    *(
        ("json/plain", data, described("json/plain", data))
        for data in (
            b'"a\\u0000b"',
            b'{"\\u0000": "\\ud800"}',
            b"NaN",
            b"[-Infinity]",
            b"[" * 5_000 + b"]" * 5_000,
            b"{",
        )
    ),
    # As a number of 64 bits has it.
    ("json/plain", str(2**70).encode(), 1_180_591_620_717_411_300_000),
    ("binary/encrypted", b"\x00\xff", described("binary/encrypted", b"\x00\xff")),
    ("something/new", b"", described("something/new", b"")),
    ("binary/plain", b"\x00\xff", "AP8="),
]


async def test_an_odd_result_ends_like_any_other(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    ids = [await answering(scene, encoding, data) for encoding, data, _ in ODD_RESULTS]

    async with scene.tracker(start_grace_seconds=0.01):
        logs = [await scene.reaches(id, "EXECUTION_COMPLETED") for id in ids]

    assert [[entry.status for entry in log] for log in logs] == [["PENDING", "RUNNING", "COMPLETED"]] * len(
        ids
    )
    shown = [
        await scene.alice.data("query ($id: ID!) { execution(id: $id) { output } }", id=id) for id in ids
    ]
    assert [each["execution"]["output"] for each in shown] == [output for *_, output in ODD_RESULTS]
    assert failures(caplog) == []


async def answering(scene: Scene, encoding: str, data: bytes) -> str:
    """An execution that was started, but is not recorded as started, and answers that payload."""
    id = await scene.insert("OddResultWorkflow")
    await scene.temporal.start_workflow(
        "OddResultWorkflow",
        args=[encoding, base64.b64encode(data).decode()],
        id=workflow_id(id),
        task_queue=scene.queue,
    )
    return id


async def test_a_history_of_many_pages(scene: Scene) -> None:
    observed = scene.observed()
    timers = 1_500
    id = await scene.start("TickingWorkflow", timers)
    await scene.handle(id).result()

    async with scene.tracker(observed):
        row = await scene.ends(id)

    log = await scene.log(id)
    assert (row.status, row.output, row.version) == ("COMPLETED", timers, 2 * timers + 3)
    for type in ("TIMER_STARTED", "TIMER_FIRED"):
        fired = [entry.details["timerId"] for entry in log if entry.type == type]
        assert len(fired) == len(set(fired)) == timers
    assert log[-1].type == "EXECUTION_COMPLETED"
    assert observed.calls["pages"] > 1


# Retention


async def test_events_past_their_retention_are_pruned_and_cursors_before_them_expire(scene: Scene) -> None:
    started = await factories.paid(scene.alice, scene.queue)
    async with scene.tracker():
        await scene.ends(started["id"])
    waiting = await factories.waiting(scene.alice, scene.queue)
    await scene.age(started["id"], timedelta(days=3))

    async with scene.tracker(event_retention_days=2.0):
        await eventually(lambda: pruned_through(scene, 6))
        await scene.approve(waiting["id"])
        await scene.ends(waiting["id"])

    assert await scene.types(started["id"]) == []
    for error in (
        await scene.alice.refusal(FEED, after=started["cursor"]),
        await scene.alice.refusal(factories.EVENTS, id=waiting["id"], after=started["cursor"]),
        await scene.alice.error(
            "query ($after: String) { executionFeed(after: $after) { totalCount } }",
            after=started["cursor"],
        ),
    ):
        assert error["extensions"]["code"] == "CURSOR_EXPIRED"
        fresh = error["extensions"]["cursor"]
    rest = await scene.alice.data(
        "query ($after: String) { executionFeed(after: $after) { nodes { id } } }", after=fresh
    )
    assert rest["executionFeed"]["nodes"] == []
    kept = await factories.events(scene.alice, waiting["id"])
    assert [event["version"] for event in kept] == list(range(1, 10))
    assert await factories.events(scene.alice, started["id"]) == []


async def pruned_through(scene: Scene, position: int) -> bool:
    async with scene.services.db.read() as connection:
        found = await connection.execute(select(col(Feed.pruned_through)))
    return bool(found.scalar_one() == position)


# Outages


async def test_an_outage_of_temporal_is_told_once(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long the machine stands still, no follower is taken for one that waits for news.
    monkeypatch.setattr("app.tracker.FOLLOW_QUIET_SECONDS", 60.0)
    unsettled = await scene.insert("GreetingWorkflow")
    running = await scene.waiting()
    away = Observed(await temporal.connect(DEAD_ADDRESS, "default"))
    often: dict[str, Any] = {
        "tracker_poll_seconds": 0.05,
        "start_grace_seconds": 0.01,
        "reconcile_after_seconds": 0.01,
    }

    async with scene.tracker(away, **often) as tracker:
        await eventually(lambda: min(away.calls[each] for each in ("sweeps", "start", "history length")) >= 8)
        assert followed(tracker) == {running}

    assert sorted(warning.split(":")[0] for warning in warnings(caplog)) == [
        "The tracker cannot compare paused",
        "The tracker cannot follow",
        "The tracker cannot reconcile",
        "The tracker cannot settle",
        "The tracker cannot sweep",
    ]
    assert failures(caplog) == []
    for id, types in (unsettled, 1), (running, 2):
        assert len(await scene.types(id)) == types


async def test_an_outage_of_postgres_is_told_once_and_outlived(
    scene: Scene, breakable: Breakable, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene.tracker(db=breakable, tracker_poll_seconds=0.05) as tracker:
        id = await scene.waiting()
        await eventually(lambda: followed(tracker) == {id})

        breakable.away = True
        await scene.approve(id)
        await scene.handle(id).result()
        await eventually(lambda: len(tracker._failing) == 7)
        assert await scene.types(id) == ["EXECUTION_CREATED", "EXECUTION_STARTED"]
        breakable.away = False

        await scene.reaches(id, "SIGNAL_RECEIVED", *GREETED)
        await eventually(lambda: not tracker._failing)

    assert sorted(warnings(caplog)) == [
        f"The tracker cannot {step}: The database does not answer."
        for step in ("compare paused", "discover", "follow", "live", "reconcile", "settle", "sweep")
    ]
    assert failures(caplog) == []
