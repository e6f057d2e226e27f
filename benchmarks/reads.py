"""Lists, objects and counts: every contestant asked the same, in turns, over ever more rows."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import data, load
from benchmarks.contestants import (
    LIMITS,
    NODE,
    POSTGRAPHILE,
    PRODUCT,
    REST,
    Asked,
    Questions,
    Run,
    Stage,
    all_served,
)
from benchmarks.measures import Compared, Figures, compared, measured, say
from benchmarks.processes import Process

CONTESTANTS = (PRODUCT, REST, NODE, POSTGRAPHILE, LIMITS)
SIZES = (10_000, 100_000, 1_000_000)
SECONDS = 1.0
# Of the sizes that only show how figures grow.
GROWTH_ROUNDS = 3
SHORTEST_SECONDS = 0.2

# What shows that an answer is the right one, whatever its shape.
_IDS = re.compile(rb'"temporal_?[wW]orkflow_?[iI]d" ?: ?"([^"]+)"')
_NAMES = re.compile(rb'"(?:type|name)" ?: ?"([^"]+)"')
_COUNTS = re.compile(rb'"(?:totalCount|total|count)" ?: ?"?(\d+)')
QUESTIONS = {
    "list": _IDS,
    "one": _IDS,
    "nested": _NAMES,
    "page": _IDS,
    "deep": _IDS,
    "total": _COUNTS,
    "stats": _COUNTS,
}
GROWING = ("list", "one", "total", "stats")

ByQuestion = dict[str, dict[str, Compared]]


@dataclass(frozen=True)
class Trial:
    """All contestants at work, and for how long each is asked at a time."""

    processes: Mapping[str, Process]
    questions: Mapping[str, Questions]
    postgres_pid: int
    seconds: float
    rounds: int

    async def measure(self, name: str) -> dict[str, Compared]:
        """One question to all; the first round only warms up."""
        taken: dict[str, list[Figures]] = defaultdict(list)
        for _ in range(self.rounds + 1):
            for contestant, process in self.processes.items():
                requests = self.questions[contestant][name]
                taken[contestant].append(await measured(process, self.postgres_pid, requests, self.seconds))
        found = compared({contestant: rounds[1:] for contestant, rounds in taken.items()})
        say(_line(name, found))
        return found


class Disagreement(Exception):
    """Contestants answer differently: they are not worth comparing."""


async def reads(stage: Stage, run: Run) -> dict[str, Any]:
    """The figures at the full size, and how some of them grow."""
    growth: dict[int, ByQuestion] = {}
    sizes = [int(size * run.scale) for size in SIZES]
    for size in sizes:
        say(f"filling a database with {size:,} executions")
        rows = await data.filled(stage.database_url, size)
        is_full = size == sizes[-1]
        asked = run.asked(QUESTIONS if is_full else GROWING)
        async with _ready(replace(stage, database_url=rows.url), run, rows) as (processes, questions):
            seconds = max(SECONDS * run.scale, SHORTEST_SECONDS)
            enough = run.rounds if is_full else min(run.rounds, GROWTH_ROUNDS)
            trial = Trial(processes, questions, stage.postgres_pid, seconds, enough)
            growth[size] = {name: await trial.measure(name) for name in asked}
    depth = Asked(0, rows).depth
    return {
        "executions": sizes[-1],
        "owned": rows.owned,
        "depth": depth,
        "figures": growth[sizes[-1]],
        "growth": growth,
    }


@asynccontextmanager
async def _ready(
    stage: Stage, run: Run, rows: data.Rows
) -> AsyncIterator[tuple[Mapping[str, Process], Mapping[str, Questions]]]:
    """All contestants, and what each is asked; raises Disagreement."""
    contestants = run.among(CONTESTANTS)
    async with all_served(contestants, stage) as processes:
        questions = {
            each.name: await each.questions(Asked(processes[each.name].port, rows)) for each in contestants
        }
        for name, pattern in QUESTIONS.items():
            await _check(processes, questions, name, pattern)
        yield processes, questions


async def _check(
    processes: Mapping[str, Process],
    questions: Mapping[str, Questions],
    name: str,
    pattern: re.Pattern[bytes],
) -> None:
    told = {
        contestant: _told(name, pattern.findall(await load.ask(processes[contestant].port, asked[name][0])))
        for contestant, asked in questions.items()
    }
    first, *others = told.values()
    if not first or any(other != first for other in others):
        raise Disagreement(f"{name}: {told}")


def _told(name: str, found: Sequence[bytes]) -> Sequence[Any]:
    """What an answer says, in whatever order or with whatever else it says that."""
    match name:
        case "nested":
            return sorted(found)
        case "total":
            # Last, behind a page of executions whose outputs have totals, too.
            return found[-1:]
        case "stats":
            return _without_sum(sorted(int(each) for each in found if int(each)))
    return found


def _without_sum(counts: Sequence[int]) -> Sequence[int]:
    *parts, last = counts
    return parts if last == sum(parts) else counts


def _line(name: str, figures: Mapping[str, Compared]) -> str:
    each = (
        f"{contestant} {found['per_second']:,.0f}/s {found['cpu_ms']:.2f} + {found['postgres_cpu_ms']:.2f} ms"
        for contestant, found in figures.items()
    )
    return f"  {name}: " + ", ".join(each)
