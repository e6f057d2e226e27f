"""The two sizes in which every row runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """`make test` runs the small one, `make faults` the full one."""

    full: bool
    executions: int
    subscribers: int
    rolling_subscribers: int
    outage_seconds: float
    slow_reader_events: int
    slow_reader_seconds: float
    storm_subscriptions: int
    oracle_executions: int
    history_events: int


SMALL = Size(
    full=False,
    executions=6,
    subscribers=6,
    rolling_subscribers=20,
    outage_seconds=2.0,
    slow_reader_events=1_000,
    slow_reader_seconds=2.0,
    storm_subscriptions=200,
    oracle_executions=10,
    history_events=4_000,
)
FULL = Size(
    full=True,
    executions=200,
    subscribers=40,
    rolling_subscribers=200,
    outage_seconds=30.0,
    slow_reader_events=10_000,
    slow_reader_seconds=60.0,
    storm_subscriptions=2_000,
    oracle_executions=200,
    history_events=50_000,
)
