"""The two sizes in which every row runs."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Size:
    """`make test` runs the small one, `make faults` the full one.

    The full one has the published bounds on how long it takes until all has converged, the small one,
    which runs beside other tests, such as say that it hangs.
    """

    full: bool
    converged_seconds: float
    temporal_converged_seconds: float
    back_seconds: float
    executions: int
    subscribers: int
    rolling_subscribers: int
    outage_seconds: float
    slow_reader_events: int
    slow_reader_seconds: float
    storm_subscriptions: int
    oracle_executions: int
    history_events: int

    def within(self, patience: float) -> "Size":
        """The same with so many times as long to converge."""
        return replace(
            self,
            converged_seconds=self.converged_seconds * patience,
            temporal_converged_seconds=self.temporal_converged_seconds * patience,
            back_seconds=self.back_seconds * patience,
        )


SMALL = Size(
    full=False,
    converged_seconds=30.0,
    temporal_converged_seconds=60.0,
    back_seconds=30.0,
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
    converged_seconds=5.0,
    temporal_converged_seconds=30.0,
    back_seconds=5.0,
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
