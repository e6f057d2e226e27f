"""What Temporal tells of activities that have not ended: pure."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo

from app import payloads
from app.records import PendingActivityRecord

BACKING_OFF = "BACKING_OFF"


def read(info: PendingActivityInfo, now: datetime) -> PendingActivityRecord:
    """One activity that is scheduled, at work or waiting for its next attempt."""
    next_attempt_at = _moment(info.next_attempt_schedule_time)
    state = _state(info.state)
    if state == "SCHEDULED" and next_attempt_at is not None and next_attempt_at > now:
        state = BACKING_OFF
    return PendingActivityRecord(
        activity_id=info.activity_id,
        activity_type=info.activity_type.name,
        state=state,
        attempt=info.attempt,
        last_failure=info.last_failure.message if info.HasField("last_failure") else None,
        last_heartbeat=payloads.single(info.heartbeat_details.payloads),
        scheduled_at=_moment(info.scheduled_time),
        next_attempt_at=next_attempt_at if state == BACKING_OFF else None,
    )


def _state(state: PendingActivityState.ValueType) -> str:
    """The name of the state; its number where only a newer server knows it."""
    if state not in PendingActivityState.values():
        return str(state)
    return PendingActivityState.Name(state).removeprefix("PENDING_ACTIVITY_STATE_")


def _moment(timestamp: Timestamp) -> datetime | None:
    """The instant; None where it was not set."""
    return timestamp.ToDatetime(tzinfo=UTC) if timestamp.seconds > 0 else None
