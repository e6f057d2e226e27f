"""What is measured of a contestant at work, the medians of that, and how the product compares."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import load
from benchmarks.contestants import PRODUCT
from benchmarks.load import Answers
from benchmarks.processes import Process, cpu_seconds

CONNECTIONS = 8
MILLISECONDS = 1_000

Figures = Mapping[str, float]
Compared = Mapping[str, Any]


async def measured(process: Process, postgres_pid: int, requests: Sequence[bytes], seconds: float) -> Figures:
    """Throughput, CPU per operation of the server and of Postgres, and latency, while asked for so long."""
    before, postgres_before = process.cpu_seconds(), cpu_seconds(postgres_pid)
    answers = await load.drive(process.port, requests, CONNECTIONS, seconds)
    used, postgres_used = process.cpu_seconds() - before, cpu_seconds(postgres_pid) - postgres_before
    return figures(answers, used, postgres_used)


def figures(answers: Answers, cpu: float, postgres_cpu: float) -> Figures:
    """By name, with the units in the names; CPU is given in seconds."""
    return {
        "per_second": answers.count / answers.seconds,
        "cpu_ms": cpu / answers.count * MILLISECONDS,
        "postgres_cpu_ms": postgres_cpu / answers.count * MILLISECONDS,
        "p50_ms": answers.latency_ms(50),
        "p99_ms": answers.latency_ms(99),
    }


def compared(taken: Mapping[str, Sequence[Figures]]) -> dict[str, Compared]:
    """By contestant: the medians of its rounds, and `product_over`, those of the product's ratios to it.

    Each ratio is of one round, since from one to the next the machine's pace changes.
    """
    product = taken.get(PRODUCT.name)
    return {
        name: {**medians(rounds), "product_over": _medians_over(product, rounds) if product else {}}
        for name, rounds in taken.items()
    }


def medians(rounds: Sequence[Figures]) -> Figures:
    """Of each figure over the rounds, and how far those lie apart in CPU."""
    middles = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    return {**middles, "cpu_spread": _spread([each["cpu_ms"] for each in rounds])}


def _medians_over(product: Sequence[Figures], rounds: Sequence[Figures]) -> Figures:
    pairs = list(zip(product, rounds, strict=True))
    return {
        name: statistics.median(mine[name] / theirs[name] for mine, theirs in pairs)
        for name in rounds[0]
        if all(theirs[name] for theirs in rounds)
    }


def _spread(values: Sequence[float]) -> float:
    """The range as a part of the median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, flush=True)  # noqa: T201 - a program of its own
