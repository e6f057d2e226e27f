"""The fault record that a full run leaves behind: a row each, with its figures."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.oracle import Verdict

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
INTRODUCTION = """# Fault record

`make faults` wrote this page on {date}, on a machine with {machine}. It runs real Postgres,
Valkey and Temporal servers and real processes of the command line (two API replicas, two trackers,
a worker), and kills them with SIGKILL. Every figure comes from that one run. `make test` runs the
same rows small.

In every row each subscriber must receive every event once and in order, the log must be dense and
equal to Temporal's own histories, and every status must be the one that Temporal gives. Some
subscribers watch a feed, some one execution; every third keeps reconnecting with its last cursor.

* **Outage**: how long the part was away, or for how long parts were killed or cut.
* **Converged**: the longest that any event took to reach any subscriber after the part was back,
  counted from when it happened or from the return, whichever was later.
* **Wrong**: lost / double / out of order / foreign.
* **Backstop**: events that no doorbell announced and the backstop found, in replicas alive at the end.

| Fault | Executions | Subscribers | Events delivered | Outage | Converged | Wrong | Backstop |
|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Line:
    """What one row of the matrix showed."""

    fault: str
    executions: int
    subscribers: int
    outage_seconds: float
    converged_seconds: float
    verdict: Verdict
    backstop: int

    def __str__(self) -> str:
        verdict = self.verdict
        wrong = f"{verdict.lost} / {verdict.doubled} / {verdict.disordered} / {verdict.foreign}"
        return (
            f"| {self.fault} | {self.executions} | {self.subscribers} | {verdict.delivered:,} "
            f"| {self.outage_seconds:.1f} s | {self.converged_seconds:.1f} s | {wrong} | {self.backstop:,} |"
        )


@dataclass
class Record:
    """All that a run showed."""

    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        table = "\n".join(map(str, self.lines))
        notes = "".join(f"\n* {note}" for note in self.notes)
        return f"{table}\n\n## More\n{notes}\n" if notes else f"{table}\n"

    def write(self) -> None:
        """Write the page."""
        head = INTRODUCTION.format(date=f"{datetime.now(UTC):%d %B %Y}", machine=machine())
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(f"{head}{self}")


def machine() -> str:
    """What this machine has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{os.cpu_count()} cores and {round(memory / 2**30)} GiB"
