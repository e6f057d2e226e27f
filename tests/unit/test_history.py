"""Temporal's history events, each read into ours."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import EventType as Kind
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DefaultPayloadConverter

from app import inputs
from app.history import (
    BY_HAND,
    LEFT_OUT,
    MAX_MESSAGE_CHARACTERS,
    MAX_STACK_CHARACTERS,
    Step,
    Transcript,
    by_hand,
)
from app.records import Draft
from app.tables import EventType, ExecutionStatus, FailureReason

WHEN = datetime(2026, 1, 8, 12, 30, 0, 250_000, UTC)
RUN_ID = "01980000-0000-7000-8000-000000000001"
READ = sorted(set(Kind.values()) - LEFT_OUT)
APPLICATION, TIMED_OUT, TERMINATED = (
    FailureReason.APPLICATION,
    FailureReason.TIMED_OUT,
    FailureReason.TERMINATED,
)
FAILED, CANCELLED = ExecutionStatus.FAILED, ExecutionStatus.CANCELLED


def event(name: str, id: int = 7, /, **attributes: Any) -> HistoryEvent:
    """A history event with attributes given as plain values."""
    moment = Timestamp()
    moment.FromDatetime(WHEN)
    facts: dict[str, Any] = {f"{name.lower()}_event_attributes": attributes}
    return HistoryEvent(event_id=id, event_time=moment, event_type=Kind.Value(f"EVENT_TYPE_{name}"), **facts)


def short_name(kind: Kind.ValueType) -> str:
    return Kind.Name(kind).removeprefix("EVENT_TYPE_")


def json_payloads(*data: bytes) -> dict[str, Any]:
    return {"payloads": [{"metadata": {"encoding": b"json/plain"}, "data": each} for each in data]}


def read(*events: HistoryEvent) -> list[Step]:
    transcript = Transcript()
    return [transcript.read(event) for event in events]


def drafted(*events: HistoryEvent) -> Draft:
    """The draft of the last of a run's events."""
    draft = read(*events)[-1].draft
    assert draft is not None
    return draft


def draft(
    type: EventType,
    message: str,
    status: ExecutionStatus | None = None,
    actor: str | None = None,
    details: Any = None,
    **changes: Any,
) -> Draft:
    return Draft(type, message, WHEN, status, actor, details, changes)


def inside(type: EventType, message: str, actor: str | None = None, **details: Any) -> Draft:
    return draft(type, message, actor=actor, details=details)


def failure(reason: FailureReason, message: str, **more: str) -> dict[str, Any]:
    empty = {"type": None, "activity_type": None, "stack_trace": None}
    return {"reason": reason, "message": message, **empty, **more}


def ended(
    type: EventType,
    message: str,
    status: ExecutionStatus,
    *,
    actor: str | None = None,
    output: Any = None,
    failure: Any = None,
) -> Draft:
    return draft(type, message, status, actor, completed_at=WHEN, output=output, failure=failure)


BROKEN = {"message": "no stock", "application_failure_info": {"type": "OutOfStock"}}
CHILD: dict[str, Any] = {
    "workflow_execution": {"workflow_id": "c-1", "run_id": RUN_ID},
    "workflow_type": {"name": "Parcel"},
}
OF_CHILD = {"workflowId": "c-1", "runId": RUN_ID, "workflowType": "Parcel"}

LIFE_CYCLE = [
    (
        event("WORKFLOW_EXECUTION_STARTED", workflow_type={"name": "Order"}),
        draft(EventType.EXECUTION_STARTED, "Started", ExecutionStatus.RUNNING, started_at=WHEN),
    ),
    (
        event("WORKFLOW_EXECUTION_COMPLETED", result=json_payloads(b'{"total": 3}')),
        ended(EventType.EXECUTION_COMPLETED, "Completed", ExecutionStatus.COMPLETED, output={"total": 3}),
    ),
    (
        event("WORKFLOW_EXECUTION_COMPLETED"),
        ended(EventType.EXECUTION_COMPLETED, "Completed", ExecutionStatus.COMPLETED),
    ),
    (
        event("WORKFLOW_EXECUTION_FAILED", failure=BROKEN),
        ended(
            EventType.EXECUTION_FAILED,
            "Failed: no stock",
            FAILED,
            failure=failure(APPLICATION, "no stock", type="OutOfStock"),
        ),
    ),
    (
        event("WORKFLOW_EXECUTION_TIMED_OUT"),
        ended(
            EventType.EXECUTION_FAILED,
            "The execution timed out",
            FAILED,
            failure=failure(TIMED_OUT, "The execution timed out"),
        ),
    ),
    (
        event("WORKFLOW_EXECUTION_CANCELED"),
        ended(EventType.EXECUTION_CANCELLED, "Cancelled", CANCELLED),
    ),
    (
        event("WORKFLOW_EXECUTION_CANCEL_REQUESTED", cause="too late", identity="temporal-graphql:alice"),
        draft(
            EventType.EXECUTION_CANCEL_REQUESTED,
            "Cancellation requested: too late",
            actor="alice",
            cancel_requested_at=WHEN,
        ),
    ),
    (
        event("WORKFLOW_EXECUTION_CANCEL_REQUESTED", identity="temporal-cli:bob@host"),
        draft(EventType.EXECUTION_CANCEL_REQUESTED, "Cancellation requested", cancel_requested_at=WHEN),
    ),
    (
        event("WORKFLOW_EXECUTION_PAUSED", reason="lunch", identity="temporal-graphql:alice"),
        draft(EventType.EXECUTION_PAUSED, "Paused: lunch", ExecutionStatus.PAUSED, "alice"),
    ),
    (
        event("WORKFLOW_EXECUTION_UNPAUSED", identity="someone"),
        draft(EventType.EXECUTION_RESUMED, "Resumed", ExecutionStatus.RUNNING),
    ),
]
INSIDE = [
    (
        event(
            "ACTIVITY_TASK_SCHEDULED",
            activity_id="1",
            activity_type={"name": "charge"},
            task_queue={"name": "payments"},
        ),
        inside(
            EventType.ACTIVITY_SCHEDULED,
            "Activity charge scheduled",
            activityId="1",
            activityType="charge",
            taskQueue="payments",
        ),
    ),
    (
        event("TIMER_STARTED", timer_id="5", start_to_fire_timeout={"seconds": 2, "nanos": 500_000_000}),
        inside(EventType.TIMER_STARTED, "Timer started for 2.5 s", timerId="5", seconds=2.5),
    ),
    (
        event(
            "WORKFLOW_EXECUTION_SIGNALED",
            signal_name="approve",
            input=json_payloads(b"true", b'"now"'),
            identity="temporal-graphql:alice",
        ),
        inside(
            EventType.SIGNAL_RECEIVED,
            "Signal approve received",
            "alice",
            signal="approve",
            arguments=[True, "now"],
        ),
    ),
    (
        event("WORKFLOW_EXECUTION_SIGNALED", signal_name="approve"),
        inside(EventType.SIGNAL_RECEIVED, "Signal approve received", signal="approve", arguments=[]),
    ),
    (
        event(
            "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
            accepted_request={
                "meta": {"update_id": "u-1", "identity": "temporal-graphql:alice"},
                "input": {"name": "rename", "args": json_payloads(b'"x"')},
            },
        ),
        inside(
            EventType.UPDATE_ACCEPTED,
            "Update rename accepted",
            "alice",
            updateId="u-1",
            update="rename",
            arguments=["x"],
        ),
    ),
    (
        event("CHILD_WORKFLOW_EXECUTION_STARTED", **CHILD),
        inside(EventType.CHILD_STARTED, "Child workflow Parcel started", **OF_CHILD),
    ),
    (
        event("CHILD_WORKFLOW_EXECUTION_COMPLETED", **CHILD),
        inside(EventType.CHILD_COMPLETED, "Child workflow Parcel completed", **OF_CHILD),
    ),
    (
        event("CHILD_WORKFLOW_EXECUTION_FAILED", failure=BROKEN, **CHILD),
        inside(
            EventType.CHILD_FAILED,
            "Child workflow Parcel failed",
            **OF_CHILD,
            failure={"message": "no stock", "type": "OutOfStock"},
        ),
    ),
    (
        event("CHILD_WORKFLOW_EXECUTION_TIMED_OUT", **CHILD),
        inside(EventType.CHILD_FAILED, "Child workflow Parcel timed out", **OF_CHILD),
    ),
    (
        event("CHILD_WORKFLOW_EXECUTION_TERMINATED", **CHILD),
        inside(EventType.CHILD_FAILED, "Child workflow Parcel was terminated", **OF_CHILD),
    ),
    (
        event("CHILD_WORKFLOW_EXECUTION_CANCELED", **CHILD),
        inside(EventType.CHILD_CANCELLED, "Child workflow Parcel was cancelled", **OF_CHILD),
    ),
    (
        event("START_CHILD_WORKFLOW_EXECUTION_FAILED", workflow_id="c-1", workflow_type={"name": "Parcel"}),
        inside(
            EventType.CHILD_FAILED,
            "Child workflow Parcel could not be started",
            workflowId="c-1",
            workflowType="Parcel",
        ),
    ),
]

SCHEDULED = event("ACTIVITY_TASK_SCHEDULED", 5, activity_id="1", activity_type={"name": "charge"})
TIMER = event("TIMER_STARTED", 5, timer_id="9", start_to_fire_timeout={"seconds": 60})
UPDATE = event(
    "WORKFLOW_EXECUTION_UPDATE_ACCEPTED",
    5,
    accepted_request={"meta": {"update_id": "u-1"}, "input": {"name": "rename"}},
)
OF_ACTIVITY = {"activityId": "1", "activityType": "charge"}

# What points back at an earlier event of the run.
POINTING = [
    (
        SCHEDULED,
        event("ACTIVITY_TASK_STARTED", scheduled_event_id=5, attempt=1, identity="worker-1"),
        inside(
            EventType.ACTIVITY_STARTED,
            "Activity charge started, attempt 1",
            **OF_ACTIVITY,
            attempt=1,
            worker="worker-1",
        ),
    ),
    (
        SCHEDULED,
        event(
            "ACTIVITY_TASK_STARTED",
            scheduled_event_id=5,
            attempt=2,
            identity="worker-1",
            last_failure={"message": "no answer"},
        ),
        inside(
            EventType.ACTIVITY_STARTED,
            "Activity charge started, attempt 2",
            **OF_ACTIVITY,
            attempt=2,
            worker="worker-1",
            lastFailure="no answer",
        ),
    ),
    (
        SCHEDULED,
        event("ACTIVITY_TASK_COMPLETED", scheduled_event_id=5, result=json_payloads(b"1")),
        inside(EventType.ACTIVITY_COMPLETED, "Activity charge completed", **OF_ACTIVITY),
    ),
    (
        SCHEDULED,
        event(
            "ACTIVITY_TASK_FAILED",
            scheduled_event_id=5,
            failure=BROKEN,
            retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
        ),
        inside(
            EventType.ACTIVITY_FAILED,
            "Activity charge failed: no stock",
            **OF_ACTIVITY,
            failure={"message": "no stock", "type": "OutOfStock"},
            retryState="NON_RETRYABLE_FAILURE",
        ),
    ),
    (
        SCHEDULED,
        event(
            "ACTIVITY_TASK_TIMED_OUT",
            scheduled_event_id=5,
            failure={"timeout_failure_info": {"timeout_type": TimeoutType.TIMEOUT_TYPE_HEARTBEAT}},
            retry_state=RetryState.RETRY_STATE_TIMEOUT,
        ),
        inside(
            EventType.ACTIVITY_TIMED_OUT,
            "Activity charge timed out",
            **OF_ACTIVITY,
            timeoutType="HEARTBEAT",
            retryState="TIMEOUT",
        ),
    ),
    (
        SCHEDULED,
        event("ACTIVITY_TASK_CANCELED", scheduled_event_id=5),
        inside(EventType.ACTIVITY_CANCELLED, "Activity charge cancelled", **OF_ACTIVITY),
    ),
    (
        TIMER,
        event("TIMER_FIRED", started_event_id=5, timer_id="9"),
        inside(EventType.TIMER_FIRED, "Timer fired", timerId="9", seconds=60.0),
    ),
    (
        TIMER,
        event("TIMER_CANCELED", started_event_id=5, timer_id="9"),
        inside(EventType.TIMER_CANCELLED, "Timer cancelled", timerId="9", seconds=60.0),
    ),
    (
        UPDATE,
        event("WORKFLOW_EXECUTION_UPDATE_COMPLETED", accepted_event_id=5, outcome={"success": {}}),
        inside(EventType.UPDATE_COMPLETED, "Update rename completed", updateId="u-1", update="rename"),
    ),
    (
        UPDATE,
        event("WORKFLOW_EXECUTION_UPDATE_COMPLETED", accepted_event_id=5, outcome={"failure": BROKEN}),
        inside(
            EventType.UPDATE_COMPLETED,
            "Update rename failed",
            updateId="u-1",
            update="rename",
            failure={"message": "no stock", "type": "OutOfStock"},
        ),
    ),
]

ENDED_BY_TERMINATION = event(
    "WORKFLOW_EXECUTION_TERMINATED", reason="stuck", identity="temporal-graphql:alice"
)
CONTINUING = [
    (
        event("WORKFLOW_EXECUTION_CONTINUED_AS_NEW", new_execution_run_id=RUN_ID),
        "Continued as a new run",
    ),
    (
        event("WORKFLOW_EXECUTION_COMPLETED", new_execution_run_id=RUN_ID),
        "Completed; continued in a new run",
    ),
    (
        event("WORKFLOW_EXECUTION_FAILED", new_execution_run_id=RUN_ID, failure=BROKEN),
        "Failed: no stock; continued in a new run",
    ),
    (
        event("WORKFLOW_EXECUTION_TIMED_OUT", new_execution_run_id=RUN_ID),
        "The execution timed out; continued in a new run",
    ),
]


def named(value: object) -> str | None:
    return Kind.Name(value.event_type) if isinstance(value, HistoryEvent) else None


@pytest.mark.parametrize(("event", "expected"), [*LIFE_CYCLE, *INSIDE], ids=named)
def test_an_event_is_read(event: HistoryEvent, expected: Draft) -> None:
    assert read(event) == [Step(7, expected)]


@pytest.mark.parametrize(("earlier", "event", "expected"), POINTING, ids=named)
def test_an_event_is_read_with_what_it_points_at(
    earlier: HistoryEvent, event: HistoryEvent, expected: Draft
) -> None:
    assert read(earlier, event)[1] == Step(7, expected)


@pytest.mark.parametrize(("event", "message"), CONTINUING, ids=named)
def test_a_run_that_another_carries_on_does_not_end_the_execution(event: HistoryEvent, message: str) -> None:
    (step,) = read(event)

    assert step.draft == draft(EventType.EXECUTION_CONTINUED, message, details={"runId": RUN_ID})
    assert (step.event_id, step.next_run_id) == (7, RUN_ID)


def test_a_termination_fails_the_execution() -> None:
    (step,) = read(ENDED_BY_TERMINATION)

    assert step.next_run_id is None
    assert step.draft == ended(
        EventType.EXECUTION_FAILED,
        "Terminated: stuck",
        FAILED,
        actor="alice",
        failure=failure(TERMINATED, "Terminated: stuck"),
    )


def by_hand_ended(status: ExecutionStatus, *values: Any) -> HistoryEvent:
    """A termination as the API makes it to end an execution by hand."""
    details = [by_hand(status), *DefaultPayloadConverter().to_payloads(values)]
    return event(
        "WORKFLOW_EXECUTION_TERMINATED",
        reason="by hand",
        identity="temporal-graphql:alice",
        details={"payloads": details},
    )


def test_an_end_by_hand_as_completed_is_no_failure() -> None:
    (step,) = read(by_hand_ended(ExecutionStatus.COMPLETED, "paid", {"cents": 1}))

    assert not step.terminated
    assert step.draft == ended(
        EventType.EXECUTION_COMPLETED,
        "Completed by hand: paid",
        ExecutionStatus.COMPLETED,
        actor="alice",
        output={"cents": 1},
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [(["nope", None], "Failed by hand: nope"), ([None, 1], "Failed by hand"), ([], "Failed by hand")],
)
def test_an_end_by_hand_as_failed(values: list[Any], message: str) -> None:
    (step,) = read(by_hand_ended(FAILED, *values))

    assert not step.terminated
    assert step.draft == ended(
        EventType.EXECUTION_FAILED, message, FAILED, actor="alice", failure=failure(TERMINATED, message)
    )


@pytest.mark.parametrize(
    "detail", [{BY_HAND: "CANCELLED"}, {BY_HAND: ["COMPLETED"]}, {"other": "COMPLETED"}, "COMPLETED", None]
)
def test_a_termination_with_details_of_others_stays_one(detail: Any) -> None:
    details = DefaultPayloadConverter().to_payloads([detail])
    (step,) = read(event("WORKFLOW_EXECUTION_TERMINATED", details={"payloads": details}))

    assert step.terminated
    assert step.draft is not None
    assert (step.draft.type, step.draft.message) == (EventType.EXECUTION_FAILED, "Terminated")


def test_every_type_that_is_read_has_its_case_here() -> None:
    shown = [event for event, _ in (*LIFE_CYCLE, *INSIDE, *CONTINUING)] + [event for _, event, _ in POINTING]

    assert {each.event_type for each in (*shown, ENDED_BY_TERMINATION)} == set(READ)


@pytest.mark.parametrize("kind", READ, ids=Kind.Name)
def test_every_type_that_temporal_has_is_read_or_left_out_by_name(kind: Kind.ValueType) -> None:
    (step,) = read(event(short_name(kind)))

    assert step.draft is not None, f"{Kind.Name(kind)} is new: read it, or add it to LEFT_OUT"


@pytest.mark.parametrize("kind", sorted(LEFT_OUT))
def test_what_is_left_out_only_counts(kind: Kind.ValueType) -> None:
    assert read(HistoryEvent(event_id=7, event_type=kind)) == [Step(7)]


def test_a_type_that_nobody_knows_yet_is_left_out() -> None:
    unknown = HistoryEvent(event_id=7)
    unknown.event_type = 9999  # type: ignore[assignment]  # a newer server's

    assert read(unknown) == [Step(7)]


@pytest.mark.parametrize(("_", "event", "expected"), POINTING, ids=named)
def test_what_points_at_nothing_known_is_read_all_the_same(
    _: object, event: HistoryEvent, expected: Draft
) -> None:
    found = drafted(event)

    assert (found.type, found.timestamp) == (expected.type, WHEN)


def test_an_activity_that_was_never_scheduled_has_no_name() -> None:
    found = drafted(event("ACTIVITY_TASK_STARTED", scheduled_event_id=5, attempt=1, identity="w"))

    assert found.message == "Activity (unknown) started, attempt 1"
    assert found.details == {"attempt": 1, "worker": "w"}


def test_one_run_knows_nothing_of_another() -> None:
    read(SCHEDULED)

    found = drafted(event("ACTIVITY_TASK_COMPLETED", scheduled_event_id=5))

    assert found.message == "Activity (unknown) completed"


def wrapped(kind: str, inner: dict[str, Any] | None = None, **info: Any) -> dict[str, Any]:
    return {"message": f"{kind} failed", f"{kind}_failure_info": info, **({"cause": inner} if inner else {})}


ACTIVITY_OF = {"activity_type": {"name": "charge"}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(BROKEN, failure(APPLICATION, "no stock", type="OutOfStock"), id="application"),
        pytest.param(
            {**BROKEN, "cause": {"message": "root", "application_failure_info": {"type": "KeyError"}}},
            failure(APPLICATION, "no stock", type="OutOfStock"),
            id="application, not its cause",
        ),
        pytest.param(
            wrapped("activity", {**BROKEN, "stack_trace": "line 1"}, **ACTIVITY_OF),
            failure(APPLICATION, "no stock", type="OutOfStock", activity_type="charge", stack_trace="line 1"),
            id="activity's application",
        ),
        pytest.param(
            wrapped("activity", {**BROKEN, "cause": {"message": "root"}}, **ACTIVITY_OF),
            failure(APPLICATION, "no stock", type="OutOfStock", activity_type="charge"),
            id="activity's application, not its cause",
        ),
        pytest.param(
            wrapped("activity", {"message": "too slow", "timeout_failure_info": {}}, **ACTIVITY_OF),
            failure(TIMED_OUT, "too slow", activity_type="charge"),
            id="activity's timeout",
        ),
        pytest.param(
            wrapped("activity", **ACTIVITY_OF),
            failure(APPLICATION, "activity failed", activity_type="charge"),
            id="activity without a cause",
        ),
        pytest.param(
            wrapped("child_workflow_execution", BROKEN),
            failure(APPLICATION, "no stock", type="OutOfStock"),
            id="child's application",
        ),
        pytest.param(
            wrapped("nexus_operation_execution", BROKEN),
            failure(APPLICATION, "no stock", type="OutOfStock"),
            id="operation's application",
        ),
        pytest.param(
            {"message": "stopped", "canceled_failure_info": {}},
            failure(APPLICATION, "stopped"),
            id="cancelled",
        ),
        pytest.param({}, failure(APPLICATION, "The workflow failed without a message"), id="nothing"),
    ],
)
def test_a_failure_is_what_the_workflow_raised(given: dict[str, Any], expected: dict[str, Any]) -> None:
    found = drafted(event("WORKFLOW_EXECUTION_FAILED", failure=given))

    assert found.changes["failure"] == expected
    assert found.message == f"Failed: {expected['message']}"


def test_a_failure_deep_inside_is_found() -> None:
    inner = wrapped("activity", BROKEN, **ACTIVITY_OF)

    found = drafted(event("WORKFLOW_EXECUTION_FAILED", failure=wrapped("child_workflow_execution", inner)))

    assert (found.changes["failure"]["message"], found.changes["failure"]["type"]) == (
        "no stock",
        "OutOfStock",
    )


@pytest.mark.parametrize(
    ("result", "output"),
    [
        ({}, None),
        (json_payloads(b"null"), None),
        (json_payloads(b"[1, 2]"), [1, 2]),
        (json_payloads(b"1", b"2"), [1, 2]),
        (json_payloads(b'"\\u0000"'), {"encoding": "json/plain", "size": 8}),
    ],
)
def test_the_output_is_what_the_workflow_returned(result: dict[str, Any], output: Any) -> None:
    assert drafted(event("WORKFLOW_EXECUTION_COMPLETED", result=result)).changes["output"] == output


def hostile(kind: Kind.ValueType, text: str) -> HistoryEvent:
    """An event whose every text is `text`, and whose every enumeration has a value of a newer server."""
    found = event(short_name(kind))
    attributes = found.WhichOneof("attributes")
    assert attributes is not None
    fill(getattr(found, attributes), text)
    return found


def fill(message: Message, text: str, depth: int = 0) -> None:
    message.SetInParent()
    for field in message.DESCRIPTOR.fields:
        # Temporal itself makes the ids of runs.
        if field.is_repeated or field.name.endswith("run_id"):
            continue
        if field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, text)
        elif field.type == FieldDescriptor.TYPE_ENUM:
            setattr(message, field.name, 9999)
        elif field.message_type and field.message_type.file.package != "google.protobuf" and depth < 4:
            fill(getattr(message, field.name), text, depth + 1)


def texts(value: Any) -> Iterator[str]:
    """All texts in a value, keys aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


@pytest.mark.parametrize("kind", READ, ids=Kind.Name)
def test_no_text_of_an_event_is_one_that_postgres_refuses(kind: Kind.ValueType) -> None:
    found = drafted(hostile(kind, "a\x00b"))

    assert [text for text in texts([found.message, found.actor, dict(found.changes)]) if "\x00" in text] == []
    assert list(inputs.json("/details", found.details)) == []


@pytest.mark.parametrize("kind", READ, ids=Kind.Name)
def test_long_texts_of_an_event_are_cut(kind: Kind.ValueType) -> None:
    found = drafted(hostile(kind, "x" * 1_000_000))

    assert len(found.message) <= 2 * MAX_MESSAGE_CHARACTERS + 100
    longest = max(map(len, texts([found.actor, found.details, dict(found.changes)])), default=0)
    assert longest <= MAX_STACK_CHARACTERS


def test_a_cut_text_says_so() -> None:
    broken = {**BROKEN, "message": "m" * 3_000, "stack_trace": "s" * 30_000}

    found = drafted(event("WORKFLOW_EXECUTION_FAILED", failure=broken))

    assert found.changes["failure"]["message"] == "m" * 1_999 + "…"
    assert found.changes["failure"]["stack_trace"] == "s" * 19_999 + "…"
    assert found.message == "Failed: " + "m" * 1_999 + "…"


def test_what_a_newer_server_answers_is_told_by_its_number() -> None:
    newer = hostile(Kind.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT, "x")
    newer.activity_task_timed_out_event_attributes.failure.timeout_failure_info.timeout_type = 9999  # type: ignore[assignment]

    assert drafted(newer).details == {"timeoutType": "9999", "retryState": "9999"}
