"""What the figures must show: ratios within one run, which say more than figures of one machine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]

HEAD = "| What | Limit | Measured | Holds |\n|---|---|---|---|\n"


@dataclass(frozen=True)
class Claim:
    """A figure and what it may be at most; or, where less would be worse, at least."""

    what: str
    limit: float
    measured: float
    at_least: bool = False
    unit: str = "x"

    @property
    def holds(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        limit, measured = (f"{value:.3g}{self.unit}" for value in (self.limit, self.measured))
        return f"| {self.what} | {bound} {limit} | {measured} | {'yes' if self.holds else '**no**'} |"


def of_reads(found: Figures) -> Iterator[Claim]:
    """Of lists, objects and counts."""
    figures = found["figures"]
    listed, one = (_over(figures[name], "cpu_ms") for name in ("list", "one"))
    for rival, limit in (("rest", 4.0), ("postgraphile", 1.5), ("node", 1.0)):
        ratio = 1 / listed[rival]
        yield Claim(f"List: throughput per CPU second over {_OVER[rival]}", limit, ratio, at_least=True)
    yield Claim("List: CPU over json_agg passed through", 5.0, listed["limits"])
    yield Claim("One by id: CPU over mercurius", 2.0, one["node"])
    yield Claim("One by id: CPU over REST", 0.5, one["rest"])
    nested, flat = (figures[name]["product"]["cpu_ms"] for name in ("nested", "list"))
    yield Claim("Nested list: CPU over the flat list", 2.0, nested / flat)
    deep, first = (_whole(figures[name]["product"]) for name in ("deep", "page"))
    yield Claim(
        f"A page {found['depth']:,} rows deep: CPU with Postgres' over the first page", 1.3, deep / first
    )
    sizes = list(found["growth"].values())
    for name, title in (("total", "Total"), ("stats", "Stats")):
        small, large = (_whole(each[name]["product"]) for each in (sizes[0], sizes[-1]))
        grown = f"{title}: CPU with Postgres' at {found['executions']:,} rows over the fewest"
        yield Claim(grown, 1.3, large / small)


def of_delivery(found: Figures) -> Iterator[Claim]:
    """Of live events."""
    for clients, by_name in list(found.items())[1:]:
        product, where = by_name["product"], f"{int(clients):,} clients"
        yield Claim(f"{where}: events missed", 0, product["missed"], unit="")
        yield Claim(f"{where}: CPU for an event over Node", 1.3, _over(by_name, "cpu_ms")["node"])
        yield Claim(f"{where}: p50 from publish", 1.0, product["p50_ms"], unit=" ms")
        yield Claim(f"{where}: p99 from publish", 20.0, product["p99_ms"], unit=" ms")
        yield Claim(f"{where}: an idle subscription", 36.0, product["kib_each"], unit=" KiB")
    last = _over(by_name, "fan_out_last_ms")
    yield Claim(f"Fan-out to {int(clients):,}: last one over REST's", 1.1, last["rest"])
    yield Claim(f"Fan-out to {int(clients):,}: last one over Node's", 0.5, last["node"])


def of_starts(found: Figures) -> Iterator[Claim]:
    """Of starts."""
    over = _over(found, "cpu_ms")["limits"]
    yield Claim("startExecution: CPU over Temporal's client and two bare transactions", 1.5, over)


def of_tracking(_: Figures) -> Iterator[Claim]:
    """Of the tracker nothing is claimed: its figures stand for themselves."""
    return iter(())


_OVER = {"rest": "REST", "postgraphile": "PostGraphile", "node": "mercurius"}


def _over(by_name: Figures, figure: str) -> Mapping[str, float]:
    """The product's figure over each contestant's."""
    return {name: each["product_over"][figure] for name, each in by_name.items()}


def _whole(figures: Figures) -> float:
    return float(figures["cpu_ms"] + figures["postgres_cpu_ms"])
