"""A workflow that does what it is told: so many activities and timers, then an end of the wanted kind."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

TIMERS_AT_ONCE = 1_000


@dataclass(frozen=True)
class Script:
    """Seconds of each step, an activity and a timer by turns; `fail` makes the end a failure."""

    steps: list[float]
    fail: bool = False


@activity.defn
async def work(seconds: float) -> None:
    """Takes that long."""
    await asyncio.sleep(seconds)


@workflow.defn
class ScriptWorkflow:
    @workflow.run
    async def run(self, script: Script) -> int:
        """Answers how many steps it took."""
        for place, seconds in enumerate(script.steps):
            if place % 2:
                await workflow.sleep(seconds)
            else:
                # What a worker reports while Temporal is away is lost: the activity is tried again.
                await workflow.execute_activity(
                    work,
                    seconds,
                    start_to_close_timeout=timedelta(seconds=seconds + 5),
                    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1)),
                )
        if script.fail:
            raise ApplicationError("as the script says", type="Scripted")
        return len(script.steps)


@workflow.defn
class LongWorkflow:
    @workflow.run
    async def run(self, timers: int) -> int:
        """Starts and cancels so many timers, two events each: a long history that takes no time."""
        for begun in range(0, timers, TIMERS_AT_ONCE):
            some = range(min(TIMERS_AT_ONCE, timers - begun))
            waiting = [asyncio.create_task(asyncio.sleep(3_600)) for _ in some]
            # What is cancelled in the workflow task that starts it never comes to be.
            await workflow.sleep(0.001)
            for timer in waiting:
                timer.cancel()
        return timers
