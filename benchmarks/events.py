"""Events as the product's tracker announces them, for a server to pass on."""

from datetime import UTC, datetime
from uuid import uuid4

import orjson

from app import doorbells
from app.deliveries import Delivery, encode
from app.records import EventRecord, ExecutionRecord
from app.tables import EventType, ExecutionStatus
from benchmarks.crowd import Publisher, stamp

# Of one execution's events, the place in the feed and the version grow together.
PRODUCT = "product"
PLACE, STAMP = 777_777_777, "@stamp"


class Feeds:
    """The feeds of owners whose events exist in Redis alone: each event follows the last one of its owner."""

    def __init__(self, publisher: Publisher, prefix: str) -> None:
        self._publisher = publisher
        self._prefix = prefix
        self._positions: dict[str, int] = {}
        self._template = encode(_delivery()) if prefix == PRODUCT else _by_name(_delivery())

    def publish(self, owner: str) -> None:
        """One more event."""
        position = self._positions[owner] = self._positions.get(owner, 0) + 1
        text = self._template.replace(str(PLACE), str(position)).replace(STAMP, stamp())
        self._publisher.publish(f"{self._prefix}:{doorbells.feed(owner)}", text)

    def restart(self) -> None:
        """Begin anew, where nobody watches any more."""
        self._positions.clear()


def _by_name(delivery: Delivery) -> str:
    """The same as others would have it."""
    execution = {name: each for name, each in delivery.execution._asdict().items() if name != "payloads"}
    return orjson.dumps({"event": delivery.event._asdict(), "execution": execution}).decode()


def _delivery() -> Delivery:
    now, execution = datetime.now(UTC), uuid4()
    event = EventRecord(
        owner_id="somebody",
        position=PLACE,
        execution_id=execution,
        version=PLACE,
        type=EventType.ACTIVITY_COMPLETED,
        status=ExecutionStatus.RUNNING,
        message=STAMP,
        timestamp=now,
        actor=None,
        details={"activityType": "charge", "attempt": 1},
        recorded_at=now,
    )
    return Delivery(
        event,
        ExecutionRecord(
            id=execution,
            owner_id="somebody",
            workflow_id=uuid4(),
            status=ExecutionStatus.RUNNING,
            version=PLACE,
            failure=None,
            labels={"env": "test"},
            rerun_of=None,
            started_by="somebody",
            temporal_workflow_id=f"temporal-graphql-{execution}",
            temporal_run_id=str(uuid4()),
            created_at=now,
            started_at=now,
            completed_at=None,
            updated_at=now,
        ),
    )
