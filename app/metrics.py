"""What one process counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LAG_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


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
        self.delivery_lag_seconds = Histogram(
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
