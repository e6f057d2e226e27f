"""A history near Temporal's limit is recorded in pages: the tracker never holds it whole."""

from tests import factories
from tests.faults.record import Record
from tests.faults.scene import staged
from tests.faults.sizes import Size
from tests.faults.stack import TASK_QUEUE, Stack
from tests.processes.commands import resident_bytes

ALLOWED_BYTES = 40_000_000


async def test_a_history_near_the_limit(stack: Stack, size: Size, record: Record) -> None:
    timers = size.history_events // 2
    async with staged(stack, size) as scene:
        while stack.trackers:
            await stack.trackers.pop().killed()
        async with scene.client() as client:
            workflow = await factories.workflow(client, TASK_QUEUE, "LongWorkflow")
            scene.executions.append(await factories.start(client, workflow, timers))
        handle = stack.client.get_workflow_handle(scene.executions[0]["temporalWorkflowId"])
        assert await handle.result() == timers
        scene.watch_feed(1, stack.replicas[0].api)
        tracker = await stack.start_tracker(0)
        before = resident_bytes(tracker.process.pid)

        await scene.settled()

        verdict = await scene.verdict()
        grown = resident_bytes(tracker.process.pid, peak=True) - before
        assert verdict.delivered > 2 * timers
        assert grown < ALLOWED_BYTES, f"{grown / 1e6:.1f} MB"
    record.notes.append(
        f"Long history: {verdict.delivered:,} events of one execution were recorded and delivered in order; "
        f"the tracker grew by {grown / 1e6:.1f} MB at most."
    )
