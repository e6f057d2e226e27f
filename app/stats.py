"""What the tallies tell: how many executions have each status, how long they took, when they began."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from app.errors import InvalidInput, Issue
from app.filters import Period
from app.tables import ExecutionStatus

MAX_SPANS = 1_000
# The first bucket of durations ends above a millisecond, each next one 10 % higher: see `store.tallies`.
FIRST_BUCKET_SECONDS, BUCKET_GROWTH = 0.001, 1.1

Counts = Mapping[ExecutionStatus, int]


class TimeBucket(StrEnum):
    """How long the spans of a timeline are."""

    HOUR = "HOUR"
    DAY = "DAY"

    @property
    def length(self) -> timedelta:
        return timedelta(hours=1) if self is TimeBucket.HOUR else timedelta(days=1)

    def start(self, moment: datetime) -> datetime:
        """When the span began that the moment lies in, in UTC."""
        start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return start if self is TimeBucket.HOUR else start.replace(hour=0)


@dataclass(frozen=True)
class Stats:
    """How many executions have each status, and how many of the completed took so long, by bucket."""

    counts: Counts
    durations: Mapping[int, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def duration(self, percent: int) -> float | None:
        """Seconds within which that share of the completed took (nearest rank), within 5 %; None of none."""
        rank = -(-percent * sum(self.durations.values()) // 100)
        for bucket, count in sorted(self.durations.items()):
            rank -= count
            if rank <= 0:
                return seconds(bucket)
        return None


@dataclass(frozen=True)
class Span:
    """How many executions have each status, of those that were created in one span of a timeline."""

    start: datetime
    counts: Counts


def seconds(bucket: int) -> float:
    """What stands for the durations of a bucket: its geometric middle, within 5 % of each of them."""
    return float(FIRST_BUCKET_SECONDS * BUCKET_GROWTH ** (bucket - 0.5))


def timeline(period: Period, bucket: TimeBucket, found: Mapping[datetime, Counts]) -> Sequence[Span]:
    """The spans of a period, oldest first, also those of which nothing was found; raises InvalidInput.

    A period with an open start begins with the first that was found, one with an open end ends now.
    """
    begin, end = period.start or min(found, default=None), period.end or datetime.now(UTC)
    if begin is None or begin >= end:
        return []
    start = bucket.start(begin)
    count = -(-(end - start) // bucket.length)
    if count > MAX_SPANS:
        raise InvalidInput([Issue("/bucket", _too_many(bucket, count))])
    nothing = dict.fromkeys(ExecutionStatus, 0)
    starts = (start + place * bucket.length for place in range(count))
    return [Span(each, found.get(each, nothing)) for each in starts]


def _too_many(bucket: TimeBucket, count: int) -> str:
    ask = "ask for DAY or narrow" if bucket is TimeBucket.HOUR else "narrow"
    return f"{bucket} makes {count:,} buckets of this time span; {MAX_SPANS:,} is the most: {ask} `createdAt`"
