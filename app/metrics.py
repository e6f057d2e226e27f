"""What one process counts, for Prometheus."""

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LAG_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MAX_NOTED = 1_000


class Noted(Histogram):
    """A histogram whose values are counted some time later, many in a row: each takes a fifth of the time."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._noted: list[float] = []

    def note(self, value: float) -> None:
        """Observe a value; `collect` has it in any case."""
        self._noted.append(value)
        if len(self._noted) >= MAX_NOTED:
            self._count()

    def collect(self) -> Iterable[Metric]:
        self._count()
        return super().collect()

    def _count(self) -> None:
        noted, self._noted = self._noted, []
        for value in noted:
            self.observe(value)


class Metrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.backstop_deliveries = Counter(
            "backstop_deliveries",
            "Events that no doorbell announced and the backstop found: the leak detector.",
            registry=self.registry,
        )
        self.gaps_filled = Counter(
            "gaps_filled", "Times that a feed was read from Postgres to catch up.", registry=self.registry
        )
        self.delivery_lag_seconds = Noted(
            "delivery_lag_seconds",
            "From an event's commit to its being handed to the sockets of those who subscribed to the same.",
            buckets=LAG_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.watched_owners = Gauge(
            "watched_owners", "Owners whose feeds are watched here.", registry=self.registry
        )
        self.subscriptions = Gauge(
            "subscriptions", "Subscriptions that are served here.", registry=self.registry
        )

    def render(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self.registry)
