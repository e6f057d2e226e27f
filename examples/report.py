"""A long report, section by section: heartbeats, resuming after a failure, pause and cancellation."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

SECONDS_ALIVE = 5


@dataclass(frozen=True)
class ReportInput:
    """How much to write and how long it takes; `fail_at_row` makes the first attempt at that row fail."""

    title: str = "Quarterly sales"
    rows: int = 240
    sections: int = 8
    seconds: float = 120.0
    fail_at_row: int | None = None


@dataclass(frozen=True)
class Section:
    """Rows `first` to `last`, both included."""

    number: int
    first: int
    last: int
    seconds_per_row: float
    fail_at_row: int | None = None


@dataclass(frozen=True)
class WrittenSection:
    """`resumed_at` is the row at which the last attempt went on; equal to `first` if it began there."""

    number: int
    first: int
    last: int
    resumed_at: int
    attempts: int


@dataclass(frozen=True)
class ReportResult:
    title: str
    rows: int
    sections: list[WrittenSection]


@dataclass(frozen=True)
class Progress:
    sections_written: int
    sections: int


def plan(report: ReportInput) -> list[Section]:
    """Divides the rows into sections whose sizes differ by one at most."""
    count = max(1, min(report.sections, report.rows))
    edges = [report.rows * number // count for number in range(count + 1)]
    pace = report.seconds / max(1, report.rows)
    return [
        Section(number, edges[number - 1] + 1, edges[number], pace, report.fail_at_row)
        for number in range(1, count + 1)
    ]


@activity.defn
async def write_section(section: Section) -> WrittenSection:
    """Writes row after row, and after a failed attempt goes on behind the last row that was heartbeaten."""
    info = activity.info()
    resumed_at = info.heartbeat_details[0] + 1 if info.heartbeat_details else section.first
    try:
        for row in range(resumed_at, section.last + 1):
            await write_row(row, section)
            activity.heartbeat(row)
    except asyncio.CancelledError:
        activity.logger.info("section %d is left unfinished", section.number)
        raise
    return WrittenSection(section.number, section.first, section.last, resumed_at, info.attempt)


async def write_row(row: int, section: Section) -> None:
    await asyncio.sleep(section.seconds_per_row)
    if row == section.fail_at_row and activity.info().attempt == 1:
        raise RuntimeError(f"the printer jammed at row {row}")


@activity.defn
async def discard_draft(title: str) -> None:
    """Cleans up after a report that will not be finished."""
    activity.logger.info("the draft of %s is discarded", title)


@workflow.defn
class ReportWorkflow:
    def __init__(self) -> None:
        self._written: list[WrittenSection] = []
        self._sections = 0

    @workflow.run
    async def run(self, given: ReportInput | None = None) -> ReportResult:
        """Answers the sections written; every field of the input is optional, and it takes two minutes."""
        report = given or ReportInput()
        try:
            await self._write(plan(report))
        except (ActivityError, asyncio.CancelledError):
            await workflow.execute_activity(
                discard_draft, report.title, start_to_close_timeout=timedelta(seconds=10)
            )
            raise
        return ReportResult(report.title, report.rows, self._written)

    @workflow.query
    def progress(self) -> Progress:
        """How many sections are written."""
        return Progress(len(self._written), self._sections)

    async def _write(self, sections: list[Section]) -> None:
        self._sections = len(sections)
        for section in sections:
            # A section that was waited for and completes before it learns of a cancellation hides it.
            if workflow.cancellation_reason() is not None:
                raise asyncio.CancelledError
            self._written.append(await self._write_one(section))

    async def _write_one(self, section: Section) -> WrittenSection:
        seconds = section.seconds_per_row * (section.last - section.first + 1)
        return await workflow.execute_activity(
            write_section,
            section,
            start_to_close_timeout=timedelta(seconds=30 + 2 * seconds),
            heartbeat_timeout=timedelta(seconds=SECONDS_ALIVE + 2 * section.seconds_per_row),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
