"""The application's closed sets as GraphQL enums: published here, with a description for every value."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import strawberry

from app.errors import ErrorCode
from app.listings import ExecutionOrderField, OrderDirection, WorkflowOrderField
from app.stats import TimeBucket
from app.tables import EventType, ExecutionAction, ExecutionStatus, FailureReason

E = TypeVar("E", bound=StrEnum)


def publish(enum: type[E], name: str, description: str, values: Mapping[E, str]) -> None:
    """Make an enum of the application one of the schema; every value needs a description."""
    strawberry.enum(enum, name=name, description=description)
    for value in enum.__strawberry_definition__.values:  # type: ignore[attr-defined]  # strawberry sets it
        value.description = values[enum[value.name]]


publish(
    ExecutionStatus,
    "ExecutionStatus",
    "Where an execution stands. COMPLETED, FAILED and CANCELLED are final.",
    {
        ExecutionStatus.PENDING: "Accepted here; Temporal has not confirmed the start yet.",
        ExecutionStatus.RUNNING: "Started on Temporal, and neither paused nor ended.",
        ExecutionStatus.PAUSED: "Paused on Temporal: no further task of it is handed to a worker.",
        ExecutionStatus.COMPLETED: "Ended with a result.",
        ExecutionStatus.FAILED: "Ended by an error, a timeout, a termination or a refused start.",
        ExecutionStatus.CANCELLED: "Ended by a cancellation.",
    },
)
publish(
    ExecutionAction,
    "ExecutionAction",
    "What may be asked of an execution.",
    {
        ExecutionAction.PAUSE: "Hold it back until it is resumed.",
        ExecutionAction.RESUME: "Let a paused execution go on.",
        ExecutionAction.CANCEL: "Ask the workflow to cancel itself, with a chance to clean up.",
        ExecutionAction.TERMINATE: "End it at once, without a chance to clean up.",
        ExecutionAction.COMPLETE: "End it by hand as completed.",
        ExecutionAction.FAIL: "End it by hand as failed.",
        ExecutionAction.SIGNAL: "Send it a signal.",
    },
)
publish(
    FailureReason,
    "FailureReason",
    "Why an execution failed.",
    {
        FailureReason.APPLICATION: "The workflow or one of its activities raised an error.",
        FailureReason.TIMED_OUT: "A timeout ran out.",
        FailureReason.TERMINATED: "It was ended at once, by a person or a program.",
        FailureReason.START_REJECTED: "Temporal refused the start for good.",
        FailureReason.LOST: "Temporal no longer has it: how it ended is not known.",
    },
)
publish(
    EventType,
    "ExecutionEventType",
    "Life-cycle events (EXECUTION_*) and what happened inside the run (the rest), in one dense order.",
    {
        EventType.EXECUTION_CREATED: "It was accepted here. The first event.",
        EventType.EXECUTION_STARTED: "Temporal has started it.",
        EventType.EXECUTION_UPDATED: "Something other than its status changed.",
        EventType.EXECUTION_PAUSED: "It was paused.",
        EventType.EXECUTION_RESUMED: "It goes on after a pause.",
        EventType.EXECUTION_CANCEL_REQUESTED: "Its cancellation was asked for: it winds up.",
        EventType.EXECUTION_CONTINUED: "It goes on in a new run: continue-as-new, a retry or a schedule.",
        EventType.EXECUTION_COMPLETED: "It has completed. The last event.",
        EventType.EXECUTION_FAILED: "It has failed. The last event.",
        EventType.EXECUTION_CANCELLED: "It was cancelled. The last event.",
        EventType.ACTIVITY_SCHEDULED: "An activity waits for a worker.",
        EventType.ACTIVITY_STARTED: "A worker took an activity; Temporal records it when the activity ends.",
        EventType.ACTIVITY_COMPLETED: "An activity has completed.",
        EventType.ACTIVITY_FAILED: "An activity has failed and is not tried again.",
        EventType.ACTIVITY_TIMED_OUT: "An activity has timed out and is not tried again.",
        EventType.ACTIVITY_CANCELLED: "An activity was cancelled.",
        EventType.TIMER_STARTED: "A timer was started.",
        EventType.TIMER_FIRED: "A timer has fired.",
        EventType.TIMER_CANCELLED: "A timer was cancelled.",
        EventType.SIGNAL_RECEIVED: "A signal has arrived.",
        EventType.UPDATE_ACCEPTED: "A Temporal Update was accepted.",
        EventType.UPDATE_COMPLETED: "A Temporal Update has completed or failed.",
        EventType.CHILD_STARTED: "A child workflow has started.",
        EventType.CHILD_COMPLETED: "A child workflow has completed.",
        EventType.CHILD_FAILED: "A child workflow failed, timed out, was terminated or could not be started.",
        EventType.CHILD_CANCELLED: "A child workflow was cancelled.",
    },
)
publish(
    TimeBucket,
    "TimeBucket",
    "How long the buckets of a timeline are.",
    {
        TimeBucket.HOUR: "An hour: at most 1,000 of them, some 41 days.",
        TimeBucket.DAY: "A day, from midnight to midnight in UTC: at most 1,000 of them.",
    },
)
publish(
    OrderDirection,
    "OrderDirection",
    "Which end of an order comes first.",
    {
        OrderDirection.ASC: "The earliest, or A.",
        OrderDirection.DESC: "The latest, or Z.",
    },
)
publish(
    ExecutionOrderField,
    "ExecutionOrderField",
    "What executions can be ordered by. A time that has not come yet counts as later than all that have.",
    {
        ExecutionOrderField.CREATED_AT: "When it was created here.",
        ExecutionOrderField.STARTED_AT: "When Temporal started it.",
        ExecutionOrderField.COMPLETED_AT: "When it ended, in whatever way.",
        ExecutionOrderField.UPDATED_AT: "When its last event was recorded.",
    },
)
publish(
    WorkflowOrderField,
    "WorkflowOrderField",
    "What workflows can be ordered by.",
    {
        WorkflowOrderField.CREATED_AT: "When it was registered.",
        WorkflowOrderField.NAME: "Its name, as the database sorts texts.",
    },
)
publish(
    ErrorCode,
    "ErrorCode",
    "What kind of failure it is: on the members of mutation results, and as `extensions.code` of errors.",
    {
        ErrorCode.UNAUTHENTICATED: "The token is missing, malformed, expired or not ours.",
        ErrorCode.FORBIDDEN: "The object is another user's, or the token lacks a scope.",
        ErrorCode.NOT_FOUND: "Nothing has that id.",
        ErrorCode.INVALID_INPUT: "The request or its input breaks a rule.",
        ErrorCode.INVALID_TRANSITION: "The execution's present status does not allow this.",
        ErrorCode.VERSION_CONFLICT: "The execution has moved on since the version that was expected.",
        ErrorCode.IDEMPOTENCY_CONFLICT: "The idempotency key was used for another request.",
        ErrorCode.NOT_SUPPORTED: "The Temporal server does not offer this, or not of this execution now.",
        ErrorCode.RATE_LIMITED: "Too many requests: wait before the next.",
        ErrorCode.QUERY_TOO_COMPLEX: "The operation is too deep, too wide or too costly.",
        ErrorCode.CURSOR_EXPIRED: "The events behind the cursor are no longer kept.",
        ErrorCode.PERSISTED_QUERY_NOT_FOUND: "No document is known by that hash or id.",
        ErrorCode.PERSISTED_QUERY_NOT_SUPPORTED: "Documents are not kept by their hash here.",
        ErrorCode.DOCUMENT_NOT_TRUSTED: "Only the documents of the server's manifest are executed here.",
        ErrorCode.UNAVAILABLE: "A server behind the API does not answer; trying again may help.",
        ErrorCode.INTERNAL: "A fault of ours; the error's id finds it in the log.",
    },
)
