"""What the figures are made into."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import delivery, measures, plots, reads, report, starts, tracking
from benchmarks.claims import Claim
from benchmarks.contestants import Contestant
from benchmarks.measures import medians
from benchmarks.plots import Line

SVG = "{http://www.w3.org/2000/svg}"


def test_a_claim_holds_up_to_its_limit() -> None:
    assert Claim("x", 1.5, 1.5).holds
    assert not Claim("x", 1.5, 1.6).holds
    assert Claim("x", 4, 4, at_least=True).holds
    assert str(Claim("x", 4, 3.9, at_least=True)) == "| x | at least 4x | 3.9x | **no** |"


def test_the_middle_round_counts_and_the_range_shows() -> None:
    rounds = [{"cpu_ms": 1.0, "p50_ms": 9.0}, {"cpu_ms": 2.0, "p50_ms": 7.0}, {"cpu_ms": 4.0, "p50_ms": 8.0}]

    assert medians(rounds) == {"cpu_ms": 2.0, "p50_ms": 8.0, "cpu_spread": 1.5}


def test_bars_are_as_long_as_their_values() -> None:
    chart = ElementTree.fromstring(plots.bars("A < B", {"small": 1, "large": 4}, "ms"))

    small, large = (float(bar.attrib["width"]) for bar in chart.iter(f"{SVG}rect"))
    assert large == 4 * small


def test_lines_rise_with_their_values() -> None:
    drawn = [Line("flat", [(10, 1), (1_000, 1)]), Line("steep", [(10, 1), (1_000, 100)])]

    chart = ElementTree.fromstring(plots.lines("Growth", drawn, "rows", "ms"))

    flat, steep = (
        [float(place.split(",")[1]) for place in line.attrib["points"].split()]
        for line in chart.iter(f"{SVG}polyline")
    )
    assert flat[0] == flat[1] == steep[0]
    # Upwards is less in a chart.
    assert steep[1] < steep[0]


READ = dict.fromkeys(("per_second", "cpu_ms", "cpu_spread", "postgres_cpu_ms", "p50_ms", "p99_ms"), 1.0)
DELIVERED = dict.fromkeys(
    (
        "cpu_ms",
        "cpu_seconds_for_10000",
        "p50_ms",
        "p99_ms",
        "missed",
        "kib_each",
        "opening_cpu_ms_each",
        "fan_out_last_ms",
        "fan_out_cpu_seconds_for_10000",
    ),
    1.0,
)
TRACKED = dict.fromkeys(
    (
        "idle_percent",
        "idle_postgres_percent",
        "completions",
        "ended_in_seconds",
        "recorded_after_seconds",
        "recorded_per_second",
        "recorded_per_cpu_second",
    ),
    1.0,
)


def test_the_product_is_compared_round_by_round() -> None:
    """A machine that is half as fast in one round says nothing about either."""
    taken = {
        "product": [{"cpu_ms": cpu, "missed": 0.0} for cpu in (2.0, 4.0, 2.5)],
        "node": [{"cpu_ms": cpu, "missed": 0.0} for cpu in (1.0, 2.0, 1.0)],
    }

    found = measures.compared(taken)

    assert (found["product"]["cpu_ms"], found["node"]["cpu_ms"]) == (2.5, 1.0)
    assert found["node"]["product_over"] == {"cpu_ms": 2.0}
    assert found["product"]["product_over"] == {"cpu_ms": 1.0}
    assert measures.compared({"node": taken["node"]})["node"]["product_over"] == {}


def test_the_page_has_all_its_charts_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PAGE_FILE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(report, "CHARTS", tmp_path / "benchmarks")
    asked = {each: _by_name(reads.CONTESTANTS, READ) for each in reads.QUESTIONS}

    report.write(
        "1 January 2027",
        5,
        reads={
            "executions": 1_000_000,
            "owned": 29_800,
            "depth": 20_000,
            "figures": asked,
            "growth": {str(size): asked for size in reads.SIZES},
        },
        delivery={str(count): _by_name(delivery.CONTESTANTS, DELIVERED) for count in delivery.CLIENTS},
        starts=_by_name(starts.CONTESTANTS, READ),
        tracking={str(count): TRACKED for count in tracking.OPEN},
    )

    page = (tmp_path / "benchmarks.md").read_text()
    written = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "benchmarks").iterdir()}
    assert set(re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)) == written
    for path in written:
        assert ElementTree.fromstring((tmp_path / path).read_text()).tag == f"{SVG}svg"


def _by_name(contestants: Sequence[Contestant], figures: Mapping[str, float]) -> dict[str, Any]:
    return {each.name: {**figures, "product_over": figures} for each in contestants}
