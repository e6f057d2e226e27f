"""What rings between processes, and on which channel: a lost ring costs latency, never an event."""

from collections.abc import Sequence
from enum import StrEnum

import orjson

from app.bus import Bus
from app.deliveries import Delivery, encode

MAX_MESSAGE_BYTES = 8_192
TRACKERS = "trackers"


class Ring(StrEnum):
    """What trackers are told besides whose executions are watched."""

    NEW_RUN = "new run"


def feed(owner: str) -> str:
    """The channel on which an owner's feed rings."""
    return f"feed:{owner}"


def announce(bus: Bus, deliveries: Sequence[Delivery]) -> None:
    """Ring for committed events: each whole, or its bare position where that exceeds 8 KB."""
    for delivery in deliveries:
        text = encode(delivery)
        if len(text.encode()) > MAX_MESSAGE_BYTES:
            text = str(delivery.position)
        bus.publish(feed(delivery.event.owner_id), text)


def tell_new_run(bus: Bus) -> None:
    """Tell the trackers that there is a run to follow, sooner than they would find it."""
    bus.publish(TRACKERS, Ring.NEW_RUN)


def tell_watched(bus: Bus, owners: Sequence[str]) -> None:
    """Tell the trackers whose executions are watched here; to be repeated within 15 seconds."""
    if owners:
        bus.publish(TRACKERS, orjson.dumps(owners).decode())
