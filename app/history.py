"""Temporal's history events turned into ours: pure.

Each of Temporal's event types either becomes an event of ours or is left out by name; a type that
this version does not know is left out too, so a newer server never stops the tracker.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import orjson
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType as Kind
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from app import payloads
from app.records import Draft, FailureRecord
from app.tables import EventType, ExecutionStatus, FailureReason

ACTOR_PREFIX = "temporal-graphql:"
BY_HAND = "temporal-graphql: ended by hand"
MAX_MESSAGE_CHARACTERS = 2_000
MAX_STACK_CHARACTERS = 20_000

LEFT_OUT = frozenset(
    {
        Kind.EVENT_TYPE_UNSPECIFIED,
        Kind.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        Kind.EVENT_TYPE_WORKFLOW_TASK_STARTED,
        Kind.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        Kind.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        Kind.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        Kind.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED,
        Kind.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
        Kind.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED,
        Kind.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED,
        Kind.EVENT_TYPE_MARKER_RECORDED,
        Kind.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED,
        Kind.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
        Kind.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED,
        Kind.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED,
        Kind.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_REJECTED,
        Kind.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED_EXTERNALLY,
        Kind.EVENT_TYPE_ACTIVITY_PROPERTIES_MODIFIED_EXTERNALLY,
        Kind.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED,
        Kind.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED,
        Kind.EVENT_TYPE_NEXUS_OPERATION_STARTED,
        Kind.EVENT_TYPE_NEXUS_OPERATION_COMPLETED,
        Kind.EVENT_TYPE_NEXUS_OPERATION_FAILED,
        Kind.EVENT_TYPE_NEXUS_OPERATION_CANCELED,
        Kind.EVENT_TYPE_NEXUS_OPERATION_TIMED_OUT,
        Kind.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUESTED,
        Kind.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_COMPLETED,
        Kind.EVENT_TYPE_NEXUS_OPERATION_CANCEL_REQUEST_FAILED,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED,
    }
)


_WRAPPERS = {
    "activity_failure_info",
    "child_workflow_execution_failure_info",
    "nexus_operation_execution_failure_info",
}

_ENDS_BY_HAND = {
    ExecutionStatus.COMPLETED: EventType.EXECUTION_COMPLETED,
    ExecutionStatus.FAILED: EventType.EXECUTION_FAILED,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One history event read: what to record, if anything, and where the execution goes on, if elsewhere."""

    event_id: int
    draft: Draft | None = None
    next_run_id: str | None = None
    next_event_id: int = 1
    terminated: bool = False


def by_hand(status: ExecutionStatus) -> Payload:
    """What marks a termination as an end by hand: in plain, to be read whatever becomes of a codec."""
    return Payload(metadata={"encoding": b"json/plain"}, data=orjson.dumps({BY_HAND: status}))


@dataclass
class Transcript:
    """Reads one run's history from its first event on; it remembers what later events only point at."""

    _activities: dict[int, dict[str, Any]] = field(default_factory=dict)
    _timers: dict[int, dict[str, Any]] = field(default_factory=dict)
    _updates: dict[int, dict[str, Any]] = field(default_factory=dict)

    def read(self, event: HistoryEvent) -> Step:
        """The step of the next event of the run."""
        reader = self._READERS.get(event.event_type)
        if reader is None:
            return Step(event.event_id)
        return reader(self, event)

    def _execution_started(self, event: HistoryEvent) -> Step:
        draft = Draft(
            EventType.EXECUTION_STARTED,
            "Started",
            _moment(event),
            ExecutionStatus.RUNNING,
            changes={"started_at": _moment(event)},
        )
        return Step(event.event_id, draft)

    def _execution_completed(self, event: HistoryEvent) -> Step:
        facts = event.workflow_execution_completed_event_attributes
        output = payloads.single(facts.result.payloads)
        return _closed(
            event,
            EventType.EXECUTION_COMPLETED,
            ExecutionStatus.COMPLETED,
            "Completed",
            facts.new_execution_run_id,
            output=output,
        )

    def _execution_failed(self, event: HistoryEvent) -> Step:
        facts = event.workflow_execution_failed_event_attributes
        failure = _failure(facts.failure)
        return _closed(
            event,
            EventType.EXECUTION_FAILED,
            ExecutionStatus.FAILED,
            _line("Failed", failure.message),
            facts.new_execution_run_id,
            failure=failure,
        )

    def _execution_timed_out(self, event: HistoryEvent) -> Step:
        facts = event.workflow_execution_timed_out_event_attributes
        message = "The execution timed out"
        return _closed(
            event,
            EventType.EXECUTION_FAILED,
            ExecutionStatus.FAILED,
            message,
            facts.new_execution_run_id,
            failure=FailureRecord(FailureReason.TIMED_OUT, message),
        )

    def _execution_terminated(self, event: HistoryEvent) -> Step:
        facts = event.workflow_execution_terminated_event_attributes
        if (status := _status_by_hand(facts.details.payloads)) is not None:
            return _ended_by_hand(event, status)
        message = _line("Terminated", facts.reason)
        step = _closed(
            event,
            EventType.EXECUTION_FAILED,
            ExecutionStatus.FAILED,
            message,
            "",
            actor=_actor(facts.identity),
            failure=FailureRecord(FailureReason.TERMINATED, message),
        )
        return replace(step, terminated=True)

    def _execution_cancelled(self, event: HistoryEvent) -> Step:
        return _closed(event, EventType.EXECUTION_CANCELLED, ExecutionStatus.CANCELLED, "Cancelled", "")

    def _execution_continued(self, event: HistoryEvent) -> Step:
        run_id = event.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        return _continued(event, "Continued as a new run", run_id)

    def _cancel_requested(self, event: HistoryEvent) -> Step:
        facts = event.workflow_execution_cancel_requested_event_attributes
        moment = _moment(event)
        draft = Draft(
            EventType.EXECUTION_CANCEL_REQUESTED,
            _line("Cancellation requested", facts.cause),
            moment,
            actor=_actor(facts.identity),
            changes={"cancel_requested_at": moment},
        )
        return Step(event.event_id, draft)

    def _execution_paused(self, event: HistoryEvent) -> Step:
        facts = event.workflow_execution_paused_event_attributes
        return _lifecycle(event, EventType.EXECUTION_PAUSED, ExecutionStatus.PAUSED, "Paused", facts)

    def _execution_unpaused(self, event: HistoryEvent) -> Step:
        facts = event.workflow_execution_unpaused_event_attributes
        return _lifecycle(event, EventType.EXECUTION_RESUMED, ExecutionStatus.RUNNING, "Resumed", facts)

    def _activity_scheduled(self, event: HistoryEvent) -> Step:
        facts = event.activity_task_scheduled_event_attributes
        activity = {"activityId": _text(facts.activity_id), "activityType": _text(facts.activity_type.name)}
        self._activities[event.event_id] = activity
        details = {**activity, "taskQueue": _text(facts.task_queue.name)}
        return _inside(event, EventType.ACTIVITY_SCHEDULED, f"Activity {_name(activity)} scheduled", details)

    def _activity_started(self, event: HistoryEvent) -> Step:
        facts = event.activity_task_started_event_attributes
        activity = self._activities.get(facts.scheduled_event_id, {})
        details = {**activity, "attempt": facts.attempt, "worker": _text(facts.identity)}
        if facts.HasField("last_failure"):
            details["lastFailure"] = _text(facts.last_failure.message)
        message = f"Activity {_name(activity)} started, attempt {facts.attempt}"
        return _inside(event, EventType.ACTIVITY_STARTED, message, details)

    def _activity_completed(self, event: HistoryEvent) -> Step:
        facts = event.activity_task_completed_event_attributes
        activity = self._activities.pop(facts.scheduled_event_id, {})
        return _inside(event, EventType.ACTIVITY_COMPLETED, f"Activity {_name(activity)} completed", activity)

    def _activity_failed(self, event: HistoryEvent) -> Step:
        facts = event.activity_task_failed_event_attributes
        activity = self._activities.pop(facts.scheduled_event_id, {})
        details = {**activity, "failure": _cause(facts.failure), "retryState": _retry(facts.retry_state)}
        message = _line(f"Activity {_name(activity)} failed", facts.failure.message)
        return _inside(event, EventType.ACTIVITY_FAILED, message, details)

    def _activity_timed_out(self, event: HistoryEvent) -> Step:
        facts = event.activity_task_timed_out_event_attributes
        activity = self._activities.pop(facts.scheduled_event_id, {})
        timeout = _timeout(facts.failure.timeout_failure_info.timeout_type)
        details = {**activity, "timeoutType": timeout, "retryState": _retry(facts.retry_state)}
        return _inside(event, EventType.ACTIVITY_TIMED_OUT, f"Activity {_name(activity)} timed out", details)

    def _activity_cancelled(self, event: HistoryEvent) -> Step:
        facts = event.activity_task_canceled_event_attributes
        activity = self._activities.pop(facts.scheduled_event_id, {})
        return _inside(event, EventType.ACTIVITY_CANCELLED, f"Activity {_name(activity)} cancelled", activity)

    def _timer_started(self, event: HistoryEvent) -> Step:
        facts = event.timer_started_event_attributes
        seconds = facts.start_to_fire_timeout.ToTimedelta().total_seconds()
        timer = {"timerId": _text(facts.timer_id), "seconds": seconds}
        self._timers[event.event_id] = timer
        return _inside(event, EventType.TIMER_STARTED, f"Timer started for {seconds:g} s", timer)

    def _timer_fired(self, event: HistoryEvent) -> Step:
        facts = event.timer_fired_event_attributes
        timer = self._timers.pop(facts.started_event_id, {"timerId": _text(facts.timer_id)})
        return _inside(event, EventType.TIMER_FIRED, "Timer fired", timer)

    def _timer_cancelled(self, event: HistoryEvent) -> Step:
        facts = event.timer_canceled_event_attributes
        timer = self._timers.pop(facts.started_event_id, {"timerId": _text(facts.timer_id)})
        return _inside(event, EventType.TIMER_CANCELLED, "Timer cancelled", timer)

    def _signal_received(self, event: HistoryEvent) -> Step:
        facts = event.workflow_execution_signaled_event_attributes
        details = {"signal": _text(facts.signal_name), "arguments": payloads.values(facts.input.payloads)}
        message = f"Signal {_text(facts.signal_name)} received"
        return _inside(event, EventType.SIGNAL_RECEIVED, message, details, _actor(facts.identity))

    def _update_accepted(self, event: HistoryEvent) -> Step:
        facts = event.workflow_execution_update_accepted_event_attributes
        request = facts.accepted_request
        update = {"updateId": _text(request.meta.update_id), "update": _text(request.input.name)}
        self._updates[event.event_id] = update
        details = {**update, "arguments": payloads.values(request.input.args.payloads)}
        actor = _actor(request.meta.identity)
        return _inside(
            event, EventType.UPDATE_ACCEPTED, f"Update {update['update']} accepted", details, actor
        )

    def _update_completed(self, event: HistoryEvent) -> Step:
        facts = event.workflow_execution_update_completed_event_attributes
        update = self._updates.pop(facts.accepted_event_id, {"updateId": _text(facts.meta.update_id)})
        failed = facts.outcome.HasField("failure")
        outcome = {"failure": _cause(facts.outcome.failure)} if failed else {}
        message = f"Update {update.get('update', '')} {'failed' if failed else 'completed'}"
        return _inside(event, EventType.UPDATE_COMPLETED, message, {**update, **outcome})

    def _child_started(self, event: HistoryEvent) -> Step:
        return _child(
            event, EventType.CHILD_STARTED, "started", event.child_workflow_execution_started_event_attributes
        )

    def _child_completed(self, event: HistoryEvent) -> Step:
        facts = event.child_workflow_execution_completed_event_attributes
        return _child(event, EventType.CHILD_COMPLETED, "completed", facts)

    def _child_failed(self, event: HistoryEvent) -> Step:
        facts = event.child_workflow_execution_failed_event_attributes
        return _child(event, EventType.CHILD_FAILED, "failed", facts, failure=_cause(facts.failure))

    def _child_timed_out(self, event: HistoryEvent) -> Step:
        facts = event.child_workflow_execution_timed_out_event_attributes
        return _child(event, EventType.CHILD_FAILED, "timed out", facts)

    def _child_terminated(self, event: HistoryEvent) -> Step:
        facts = event.child_workflow_execution_terminated_event_attributes
        return _child(event, EventType.CHILD_FAILED, "was terminated", facts)

    def _child_cancelled(self, event: HistoryEvent) -> Step:
        facts = event.child_workflow_execution_canceled_event_attributes
        return _child(event, EventType.CHILD_CANCELLED, "was cancelled", facts)

    def _child_not_started(self, event: HistoryEvent) -> Step:
        facts = event.start_child_workflow_execution_failed_event_attributes
        details = {"workflowId": _text(facts.workflow_id), "workflowType": _text(facts.workflow_type.name)}
        message = f"Child workflow {details['workflowType']} could not be started"
        return _inside(event, EventType.CHILD_FAILED, message, details)

    _READERS: ClassVar[dict[int, Callable[[Any, HistoryEvent], Step]]] = {
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: _execution_started,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: _execution_completed,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: _execution_failed,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: _execution_timed_out,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: _execution_terminated,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: _execution_cancelled,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: _execution_continued,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED: _cancel_requested,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED: _execution_paused,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_UNPAUSED: _execution_unpaused,
        Kind.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: _activity_scheduled,
        Kind.EVENT_TYPE_ACTIVITY_TASK_STARTED: _activity_started,
        Kind.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: _activity_completed,
        Kind.EVENT_TYPE_ACTIVITY_TASK_FAILED: _activity_failed,
        Kind.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: _activity_timed_out,
        Kind.EVENT_TYPE_ACTIVITY_TASK_CANCELED: _activity_cancelled,
        Kind.EVENT_TYPE_TIMER_STARTED: _timer_started,
        Kind.EVENT_TYPE_TIMER_FIRED: _timer_fired,
        Kind.EVENT_TYPE_TIMER_CANCELED: _timer_cancelled,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: _signal_received,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: _update_accepted,
        Kind.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED: _update_completed,
        Kind.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED: _child_started,
        Kind.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED: _child_completed,
        Kind.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED: _child_failed,
        Kind.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT: _child_timed_out,
        Kind.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED: _child_terminated,
        Kind.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED: _child_cancelled,
        Kind.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED: _child_not_started,
    }


def _inside(
    event: HistoryEvent, type: EventType, message: str, details: dict[str, Any], actor: str | None = None
) -> Step:
    return Step(event.event_id, Draft(type, message, _moment(event), actor=actor, details=details))


def _lifecycle(event: HistoryEvent, type: EventType, status: ExecutionStatus, word: str, facts: Any) -> Step:
    draft = Draft(type, _line(word, facts.reason), _moment(event), status, actor=_actor(facts.identity))
    return Step(event.event_id, draft)


def _child(event: HistoryEvent, type: EventType, verb: str, facts: Any, **more: Any) -> Step:
    name = _text(facts.workflow_type.name)
    child = facts.workflow_execution
    details = {"workflowId": _text(child.workflow_id), "runId": child.run_id, "workflowType": name, **more}
    return _inside(event, type, f"Child workflow {name} {verb}", details)


def _closed(
    event: HistoryEvent,
    type: EventType,
    status: ExecutionStatus,
    message: str,
    next_run_id: str,
    *,
    actor: str | None = None,
    output: Any = None,
    failure: FailureRecord | None = None,
) -> Step:
    """The end of the execution, unless Temporal carries it on in another run (a retry or a schedule)."""
    if next_run_id:
        return _continued(event, f"{message}; continued in a new run", next_run_id)
    moment = _moment(event)
    changes = {"completed_at": moment, "output": output, "failure": failure and asdict(failure)}
    return Step(event.event_id, Draft(type, message, moment, status, actor=actor, changes=changes))


def _status_by_hand(details: Sequence[Payload]) -> ExecutionStatus | None:
    """The status that a termination of the API's is to give; None for any other termination."""
    mark = payloads.value(details[0]) if details else None
    status = mark.get(BY_HAND) if isinstance(mark, dict) else None
    return ExecutionStatus(status) if isinstance(status, str) and status in _ENDS_BY_HAND else None


def _ended_by_hand(event: HistoryEvent, status: ExecutionStatus) -> Step:
    """The end that the API put on a run in one call: a mark of ours, a message, an output."""
    facts = event.workflow_execution_terminated_event_attributes
    _, remark, output, *_ = [*payloads.values(facts.details.payloads), None, None]
    completed = status is ExecutionStatus.COMPLETED
    message = _line("Completed by hand" if completed else "Failed by hand", remark and str(remark))
    return _closed(
        event,
        _ENDS_BY_HAND[status],
        status,
        message,
        "",
        actor=_actor(facts.identity),
        output=output if completed else None,
        failure=None if completed else FailureRecord(FailureReason.TERMINATED, message),
    )


def _continued(event: HistoryEvent, message: str, run_id: str) -> Step:
    draft = Draft(EventType.EXECUTION_CONTINUED, message, _moment(event), details={"runId": run_id})
    return Step(event.event_id, draft, next_run_id=run_id)


def _failure(failure: Failure) -> FailureRecord:
    """The failure as the API shows it: what the workflow raised, or what its activity did."""
    cause = _raised(failure)
    timed_out = cause.HasField("timeout_failure_info")
    return FailureRecord(
        FailureReason.TIMED_OUT if timed_out else FailureReason.APPLICATION,
        _text(cause.message) or "The workflow failed without a message",
        type=_text(cause.application_failure_info.type) or None,
        activity_type=_text(failure.activity_failure_info.activity_type.name) or None,
        stack_trace=_text(cause.stack_trace, MAX_STACK_CHARACTERS) or None,
    )


def _cause(failure: Failure) -> dict[str, Any]:
    cause = _raised(failure)
    return {"message": _text(cause.message), "type": _text(cause.application_failure_info.type) or None}


def _raised(failure: Failure) -> Failure:
    """The failure inside the SDK's wrappers, which only say that an activity or a child failed."""
    while failure.HasField("cause") and failure.WhichOneof("failure_info") in _WRAPPERS:
        failure = failure.cause
    return failure


def _retry(state: RetryState.ValueType) -> str:
    """The name of the state; its number where only a newer server knows it."""
    return RetryState.Name(state).removeprefix("RETRY_STATE_") if state in RetryState.values() else str(state)


def _timeout(type: TimeoutType.ValueType) -> str:
    """The name of the timeout; its number where only a newer server knows it."""
    return TimeoutType.Name(type).removeprefix("TIMEOUT_TYPE_") if type in TimeoutType.values() else str(type)


def _actor(identity: str) -> str | None:
    """The caller whom the API named in its request to Temporal; None for anyone else."""
    return _text(identity.removeprefix(ACTOR_PREFIX)) if identity.startswith(ACTOR_PREFIX) else None


def _name(activity: dict[str, Any]) -> str:
    return str(activity.get("activityType", "(unknown)"))


def _line(word: str, reason: str | None) -> str:
    return f"{word}: {_text(reason)}" if reason else word


def _text(text: str, limit: int = MAX_MESSAGE_CHARACTERS) -> str:
    """Text that Postgres keeps: without NUL, and bounded."""
    plain = text.replace("\x00", "")
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def _moment(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(tzinfo=UTC)
