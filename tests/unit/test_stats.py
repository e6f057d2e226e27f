"""What the tallies tell: percentiles, whole hours, timelines."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.filters import Period
from app.stats import MAX_SPANS, Counts, Span, Stats, TimeBucket, seconds, timeline
from app.tables import ExecutionStatus

NOON = datetime(2026, 1, 8, 12, tzinfo=UTC)
HOUR, MOMENT = timedelta(hours=1), timedelta(microseconds=1)
NOTHING = dict.fromkeys(ExecutionStatus, 0)
ONE = {**NOTHING, ExecutionStatus.RUNNING: 1}


def starts(spans: Sequence[Span]) -> list[datetime]:
    return [span.start for span in spans]


@pytest.mark.parametrize("bucket", [1, 2, 100, 280])
def test_a_bucket_stands_within_five_percent_of_all_that_is_in_it(bucket: int) -> None:
    lowest, highest = 0.001 * 1.1 ** (bucket - 1), 0.001 * 1.1**bucket

    assert seconds(bucket) == pytest.approx(lowest, rel=0.05)
    assert seconds(bucket) == pytest.approx(highest, rel=0.05)


@given(st.dictionaries(st.integers(1, 280), st.integers(1, 50), min_size=1), st.integers(1, 100))
def test_a_percentile_is_that_of_the_nearest_rank(durations: dict[int, int], percent: int) -> None:
    ranked = [bucket for bucket, count in sorted(durations.items()) for _ in range(count)]
    enough = next(place for place in range(1, len(ranked) + 1) if place * 100 >= percent * len(ranked))

    assert Stats(NOTHING, durations).duration(percent) == seconds(ranked[enough - 1])


def test_of_nothing_there_is_no_percentile() -> None:
    assert Stats(ONE, {}).duration(50) is None
    assert Stats(ONE, {}).total == 1


def test_a_timeline_has_no_gap() -> None:
    found: dict[datetime, Counts] = {NOON + HOUR: ONE}
    period = Period(NOON + MOMENT, NOON + 2 * HOUR + MOMENT)

    spans = timeline(period, TimeBucket.HOUR, found)

    assert list(spans) == [Span(NOON, NOTHING), Span(NOON + HOUR, ONE), Span(NOON + 2 * HOUR, NOTHING)]


def test_days_begin_at_midnight() -> None:
    midnight = datetime(2026, 1, 8, tzinfo=UTC)
    period = Period(NOON, NOON + timedelta(days=1))

    spans = timeline(period, TimeBucket.DAY, {midnight: ONE})

    assert list(spans) == [Span(midnight, ONE), Span(midnight + timedelta(days=1), NOTHING)]
    assert len(timeline(Period(NOON, midnight + timedelta(days=1)), TimeBucket.DAY, {})) == 1


def test_an_open_period_begins_with_what_was_found_first_and_ends_now() -> None:
    this_hour = TimeBucket.HOUR.start(datetime.now(UTC))

    spans = timeline(Period(), TimeBucket.HOUR, {this_hour - HOUR: ONE, this_hour - 3 * HOUR: ONE})

    assert starts(spans)[:3] == [this_hour - hours * HOUR for hours in (3, 2, 1)]
    # The hour may have turned since.
    assert len(spans) in (4, 5)


@pytest.mark.parametrize(
    "period", [Period(), Period(None, NOON), Period(NOON, NOON), Period(NOON, NOON - HOUR)]
)
def test_a_timeline_of_nothing_is_empty(period: Period) -> None:
    assert list(timeline(period, TimeBucket.HOUR, {})) == []


@pytest.mark.parametrize("bucket", TimeBucket)
def test_a_timeline_is_bounded(bucket: TimeBucket) -> None:
    most = Period(NOON.replace(hour=0), NOON.replace(hour=0) + MAX_SPANS * bucket.length)
    assert most.end is not None

    spans = timeline(most, bucket, {})

    assert starts(spans) == [spans[0].start + place * bucket.length for place in range(MAX_SPANS)]
    with pytest.raises(InvalidInput, match="1,001 buckets"):
        timeline(Period(most.start, most.end + MOMENT), bucket, {})
    with pytest.raises(InvalidInput):
        timeline(Period(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)), bucket, {})


@pytest.mark.parametrize(
    ("bucket", "way_out"), [(TimeBucket.HOUR, "ask for DAY"), (TimeBucket.DAY, "narrow")]
)
def test_too_long_a_timeline_says_the_way_out(bucket: TimeBucket, way_out: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        timeline(Period(datetime(1900, 1, 1, tzinfo=UTC), NOON), bucket, {})

    (issue,) = caught.value.issues
    assert issue.path == "/bucket"
    assert f": {way_out}" in issue.message
    assert "`createdAt`" in issue.message
