"""What the figures are made into."""

from xml.etree import ElementTree

from benchmarks import plots
from benchmarks.claims import Claim
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
