"""A workflow that answers questions, and one whose activities do not end by themselves."""

import asyncio
import time
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy


@workflow.defn
class AnsweringWorkflow:
    def __init__(self) -> None:
        self._done = False

    @workflow.run
    async def run(self) -> str:
        """Waits to be told that it is done."""
        await workflow.wait_condition(lambda: self._done)
        return "done"

    @workflow.signal
    def finish(self) -> None:
        self._done = True

    @workflow.query
    def add(self, left: int, right: int) -> dict[str, int]:
        return {"sum": left + right}

    @workflow.query
    def nothing(self) -> None:
        return None

    @workflow.query
    def broken(self) -> None:
        raise ValueError("no answer to this")

    @workflow.query
    def slow(self) -> None:
        """Thinks for longer than the tests wait, and for less than the SDK calls a deadlock."""
        with workflow.unsafe.sandbox_unrestricted():
            time.sleep(1.2)


@workflow.defn
class FailingWorkflow:
    @workflow.run
    async def run(self) -> None:
        """Has a mistake, for which Temporal tries the same step again and again."""
        raise ZeroDivisionError("this code is wrong")

    @workflow.query
    def add(self, left: int, right: int) -> int:
        return left + right


@activity.defn
async def stumble() -> None:
    """Tells how far it came, and fails."""
    activity.heartbeat({"rows": 7})
    await asyncio.sleep(0)
    raise RuntimeError("out of paper")


@workflow.defn
class BusyWorkflow:
    @workflow.run
    async def run(self, queue: str) -> None:
        """Has one activity back off for long, and another wait in a queue."""
        await asyncio.gather(
            workflow.execute_activity(
                stumble,
                start_to_close_timeout=timedelta(seconds=10),
                retry_policy=RetryPolicy(initial_interval=timedelta(hours=1)),
            ),
            workflow.execute_activity(
                "elsewhere", task_queue=queue, start_to_close_timeout=timedelta(hours=1)
            ),
        )
