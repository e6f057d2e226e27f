"""The product beside what it replaces and what it is measured by: `python -m benchmarks.speed`.

reads     lists, one by id, nested, deep pages, counts, over 10,000 to 1,000,000 executions
delivery  live events to 100, 1,000 and 5,000 clients, one event to all of them, memory of the idle
starts    startExecution beside Temporal's own client and two transactions
tracking  a tracker over 100, 1,000 and 5,000 open executions, idle and while many end

Parts can be run alone, and so can contestants (product, rest, node, postgraphile, limits, frames) and
questions (list, one, nested, page, deep, total, stats): then only lines are printed. The figures of a part
at the published size are kept in build/benchmarks; once all are there, docs/benchmarks.md is written.
"""

import argparse
import asyncio
import json
import resource
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from app import servers
from benchmarks import claims, data, report
from benchmarks.contestants import Run, Stage
from benchmarks.delivery import delivery
from benchmarks.measures import say
from benchmarks.reads import QUESTIONS, SIZES, reads
from benchmarks.starts import starts
from benchmarks.tracking import tracking

PARTS = {
    "reads": (report.text_of_reads, claims.of_reads),
    "delivery": (report.text_of_delivery, claims.of_delivery),
    "starts": (report.text_of_starts, claims.of_starts),
    "tracking": (report.text_of_tracking, claims.of_tracking),
}
ROUNDS = 5


@asynccontextmanager
async def _staged() -> AsyncIterator[Stage]:
    """Postgres, which forgets all at the end, and Valkey."""
    with tempfile.TemporaryDirectory() as directory:
        files = Path(directory)
        postgres, valkey = (server(files, durable=False) for server in (servers.postgres, servers.valkey))
        async with servers.running(postgres, valkey):
            assert postgres.pid
            yield Stage(postgres.address, valkey.address, files, postgres.pid)


async def _figures(part: str, stage: Stage, run: Run) -> dict[str, Any]:
    if part == "reads":
        return await reads(stage, run)
    rows = await data.filled(stage.database_url, int(SIZES[0] * run.scale))
    stage = replace(stage, database_url=rows.url)
    if part == "delivery":
        return await delivery(stage, run)
    temporal = servers.temporal(stage.files, durable=False)
    async with servers.running(temporal):
        measure = starts if part == "starts" else tracking
        return await measure(replace(stage, temporal_address=temporal.address), run, rows)


async def main(parts: Sequence[str], run: Run) -> None:
    """Measure, print, and write down what is whole."""
    for part in parts:
        say(part)
        async with _staged() as stage:
            found = await _figures(part, stage, run)
        # As it is read from a file, where the keys are texts.
        _tell(part, run, json.loads(json.dumps(found)))
    if run.is_whole:
        _write()


def _tell(part: str, run: Run, found: dict[str, Any]) -> None:
    text, claimed = PARTS[part]
    if run.names or run.questions:
        return
    say(f"{text(found)}\n{report.text_of_claims(claimed(found))}")
    if run.is_whole:
        report.stored(part).parent.mkdir(parents=True, exist_ok=True)
        report.stored(part).write_text(json.dumps({"rounds": run.rounds, "found": found}))


def _write() -> None:
    kept = {part: report.stored(part) for part in PARTS}
    if not all(path.exists() for path in kept.values()):
        say("docs/benchmarks.md is written once all parts have been run")
        return
    found = {part: json.loads(path.read_text()) for part, path in kept.items()}
    rounds = min(each["rounds"] for each in found.values())
    report.write(
        f"{datetime.now(UTC):%d %B %Y}", rounds, **{part: each["found"] for part, each in found.items()}
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART")
    parser.add_argument("--scale", type=float, default=1.0, help="of the published sizes (1)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of which the median is taken ({ROUNDS})")
    parser.add_argument("--only", nargs="+", default=(), metavar="CONTESTANT", help="such as product node")
    parser.add_argument("--questions", nargs="+", default=(), choices=QUESTIONS, help="of those of reads")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    # A socket for each client, here and in the servers, which inherit this.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asked = Run(arguments.scale, arguments.rounds, frozenset(arguments.only), frozenset(arguments.questions))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(arguments.parts, asked))
