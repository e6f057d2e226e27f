"""A workflow that takes its steps when it is told to: a test decides how far it gets."""

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def take_step(step: int) -> int:
    return step


@workflow.defn
class StepsWorkflow:
    def __init__(self) -> None:
        self._allowed = 0
        self._taken = 0

    @workflow.run
    async def run(self, steps: int) -> int:
        """Answers how many steps it took, each after a signal."""
        while self._taken < steps:
            await workflow.wait_condition(lambda: self._allowed > self._taken)
            await workflow.execute_activity(
                take_step, self._taken, start_to_close_timeout=timedelta(seconds=60)
            )
            self._taken += 1
        return self._taken

    @workflow.signal
    def go(self) -> None:
        self._allowed += 1
