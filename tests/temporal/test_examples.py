"""Each example on a real server, to its expected end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from app import worker
from examples.order import OrderInput, OrderWorkflow
from examples.payment import PaymentInput, PaymentWorkflow
from examples.report import ReportInput, ReportWorkflow, plan
from tests.eventually import eventually

Handle = WorkflowHandle[Any, Any]

QUEUE = "examples"
SECONDS = 20


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(temporal_address: str) -> AsyncIterator[Client]:
    client = await Client.connect(temporal_address)
    running = asyncio.create_task(worker.run(client, ["examples"], QUEUE))
    yield client
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def start(client: Client, workflow_type: str, *given: object) -> Handle:
    return await client.start_workflow(workflow_type, args=given, id=uuid4().hex, task_queue=QUEUE)


async def result(handle: Handle) -> Any:
    return await asyncio.wait_for(handle.result(), SECONDS)


async def history(handle: Handle) -> list[str]:
    return [named(event) async for event in handle.fetch_history_events()]


async def seen(handle: Handle, kind: str) -> None:
    """Waits until the history holds an event of that kind."""

    async def holds() -> bool:
        return kind in await history(handle)

    await eventually(holds)


async def heartbeating(handle: Handle) -> None:
    """Waits until an activity of the run has begun and told how far it is."""

    async def beats() -> bool:
        description = await handle.describe()
        pending = description.raw_description.pending_activities
        return any(activity.HasField("heartbeat_details") for activity in pending)

    await eventually(beats)


def named(event: HistoryEvent) -> str:
    return EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")


async def pause(client: Client, handle: Handle) -> None:
    await client.workflow_service.pause_workflow_execution(
        PauseWorkflowExecutionRequest(
            namespace=client.namespace, workflow_id=handle.id, request_id=uuid4().hex, reason="a test"
        )
    )


async def unpause(client: Client, handle: Handle) -> None:
    await client.workflow_service.unpause_workflow_execution(
        UnpauseWorkflowExecutionRequest(
            namespace=client.namespace, workflow_id=handle.id, request_id=uuid4().hex
        )
    )


async def test_order_without_input_ships_the_sample(client: Client) -> None:
    handle = await start(client, "OrderWorkflow")

    order = await result(handle)

    assert order == {
        "order_id": order["order_id"],
        "customer": "Ada Lovelace",
        "shipped_to": "12 St James's Square, London",
        "total_cents": 10400,
        "payment_id": f"payment-{order['order_id']}",
        "tracking_number": f"TRACK-{order['order_id'].upper()}",
    }


async def test_order_takes_a_part_of_its_input(client: Client) -> None:
    given = {
        "order_id": "a1",
        "items": [{"sku": "mug", "quantity": 3}],
        "step_seconds": 0,
        "grace_seconds": 0,
    }

    order = await result(await start(client, "OrderWorkflow", given))

    assert (order["tracking_number"], order["total_cents"]) == ("TRACK-A1", 3000)
    assert order["customer"] == "Ada Lovelace"


async def test_order_takes_null(client: Client) -> None:
    handle = await start(client, "OrderWorkflow", None)

    await seen(handle, "ACTIVITY_TASK_SCHEDULED")

    await handle.terminate()


async def test_order_history_has_four_activities_and_a_timer(client: Client) -> None:
    handle = await start(client, "OrderWorkflow", OrderInput(step_seconds=0, grace_seconds=0.1))

    await result(handle)

    activity = ["ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"]
    assert [kind for kind in await history(handle) if not kind.startswith("WORKFLOW_TASK")] == [
        "WORKFLOW_EXECUTION_STARTED",
        *activity * 2,
        "TIMER_STARTED",
        "TIMER_FIRED",
        *activity * 2,
        "WORKFLOW_EXECUTION_COMPLETED",
    ]


async def test_order_address_may_change_before_shipping(client: Client) -> None:
    handle = await start(client, "OrderWorkflow", OrderInput(step_seconds=0, grace_seconds=3))
    await seen(handle, "TIMER_STARTED")

    await handle.signal(OrderWorkflow.change_address, "Marlow, Buckinghamshire")
    progress = await handle.query(OrderWorkflow.progress)

    assert progress.step == "waiting for changes"
    assert progress.done == ["received", "reserving stock", "charging the card"]
    assert progress.address == "Marlow, Buckinghamshire"
    assert (await result(handle))["shipped_to"] == "Marlow, Buckinghamshire"


async def test_order_cancelled_in_a_pause_ends_after_it(client: Client) -> None:
    handle = await start(client, "OrderWorkflow", OrderInput(step_seconds=0.2))
    await seen(handle, "ACTIVITY_TASK_SCHEDULED")

    await pause(client, handle)
    await seen(handle, "ACTIVITY_TASK_COMPLETED")
    await handle.cancel()
    await unpause(client, handle)

    with pytest.raises(WorkflowFailureError) as failure:
        await result(handle)
    assert isinstance(failure.value.cause, CancelledError)


async def test_payment_without_input_fails_after_three_attempts(client: Client) -> None:
    handle = await start(client, "PaymentWorkflow")

    with pytest.raises(WorkflowFailureError) as failure:
        await result(handle)

    cause = failure.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "PaymentDeclined"
    assert cause.message == "4900 cents not paid after 3 attempts: card declined on attempt 3"


async def test_payment_goes_through_on_the_attempt_asked_for(client: Client) -> None:
    handle = await client.start_workflow(
        PaymentWorkflow.run,
        PaymentInput(retry_seconds=0.01, succeed_on_attempt=2),
        id=uuid4().hex,
        task_queue=QUEUE,
    )

    receipt = await asyncio.wait_for(handle.result(), SECONDS)

    assert asdict(receipt) == {"customer": "Ada Lovelace", "amount_cents": 4900, "attempts": 2}


async def test_report_writes_its_sections(client: Client) -> None:
    handle = await start(client, "ReportWorkflow", ReportInput(rows=5, sections=2, seconds=0))

    report = await result(handle)

    assert [(part["first"], part["last"]) for part in report["sections"]] == [(1, 2), (3, 5)]


async def test_report_without_input_takes_long_and_can_be_cancelled(client: Client) -> None:
    handle = await start(client, "ReportWorkflow")
    await heartbeating(handle)

    progress = await handle.query(ReportWorkflow.progress)
    await handle.cancel()

    assert (progress.sections_written, progress.sections) == (0, 8)
    with pytest.raises(WorkflowFailureError) as failure:
        await result(handle)
    assert isinstance(failure.value.cause, CancelledError)
    assert [kind for kind in await history(handle) if not kind.startswith("WORKFLOW_TASK")] == [
        "WORKFLOW_EXECUTION_STARTED",
        "ACTIVITY_TASK_SCHEDULED",
        "WORKFLOW_EXECUTION_CANCEL_REQUESTED",
        "ACTIVITY_TASK_CANCEL_REQUESTED",
        "ACTIVITY_TASK_STARTED",
        "ACTIVITY_TASK_CANCELED",
        "ACTIVITY_TASK_SCHEDULED",
        "ACTIVITY_TASK_STARTED",
        "ACTIVITY_TASK_COMPLETED",
        "WORKFLOW_EXECUTION_CANCELED",
    ]


async def test_report_resumes_behind_the_last_heartbeat(client: Client) -> None:
    given = ReportInput(rows=10, sections=1, seconds=0.5, fail_at_row=7)

    report = await result(await start(client, "ReportWorkflow", given))

    assert report["sections"] == [{"number": 1, "first": 1, "last": 10, "resumed_at": 7, "attempts": 2}]


async def test_pause_stops_the_report_between_sections(client: Client) -> None:
    handle = await start(client, "ReportWorkflow", ReportInput(rows=21, sections=3, seconds=4))
    await heartbeating(handle)

    await pause(client, handle)
    await seen(handle, "ACTIVITY_TASK_COMPLETED")
    await unpause(client, handle)

    assert len((await result(handle))["sections"]) == 3
    kinds = await history(handle)
    paused, unpaused = (kinds.index(f"WORKFLOW_EXECUTION_{kind}") for kind in ("PAUSED", "UNPAUSED"))
    assert kinds[paused + 1 : unpaused] == ["ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"]
    assert kinds[unpaused:].count("ACTIVITY_TASK_SCHEDULED") == 2


async def test_report_cancelled_in_a_pause_ends_after_it(client: Client) -> None:
    handle = await start(client, "ReportWorkflow", ReportInput(rows=8, sections=4, seconds=1))
    await heartbeating(handle)

    await pause(client, handle)
    await handle.cancel()
    await unpause(client, handle)

    with pytest.raises(WorkflowFailureError) as failure:
        await result(handle)
    assert isinstance(failure.value.cause, CancelledError)


@pytest.mark.parametrize(("rows", "sections", "sizes"), [(7, 3, [2, 2, 3]), (2, 5, [1, 1]), (0, 4, [0])])
def test_plan_divides_the_rows(rows: int, sections: int, sizes: list[int]) -> None:
    parts = plan(ReportInput(rows=rows, sections=sections))

    assert [part.last - part.first + 1 for part in parts] == sizes
