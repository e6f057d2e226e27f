"""A start that several settle: whoever comes late changes nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus

from app import starter
from app.errors import StartRejected, Unavailable
from app.store import tracking
from app.store.tracking import StartRequest
from resolvers.context import Services
from tests import factories
from tests.client import Client
from tests.temporal.scene import Observed, Scene


class Slow(Observed):
    """Temporal where a start arrives only when it is let, and its caller has given up."""

    def __init__(self, client: TemporalClient) -> None:
        super().__init__(client)
        self.left: list[StartRequest] = []

    async def start(self, request: StartRequest) -> str:
        self.left.append(request)
        raise Unavailable("No answer", retry_after_seconds=1)

    async def arrive(self) -> None:
        await super().start(self.left.pop())


class Fickle(Observed):
    """Temporal that refuses a start, as soon as it is let."""

    def __init__(self, client: TemporalClient) -> None:
        super().__init__(client)
        self.asked, self.refuse = asyncio.Event(), asyncio.Event()

    async def start(self, request: StartRequest) -> str:
        self.asked.set()
        await self.refuse.wait()
        raise StartRejected("no such task queue")


async def test_settling_what_another_has_settled(
    services: Services, alice: Client, worker: str, temporal_address: str
) -> None:
    temporal = await TemporalClient.connect(temporal_address)
    execution = await factories.waiting(alice, worker)
    assert execution["status"] == "RUNNING"

    await starter.settle(services.db, services.temporal, UUID(execution["id"]))

    described = await temporal.get_workflow_handle(execution["temporalWorkflowId"]).describe()
    assert described.status is WorkflowExecutionStatus.RUNNING
    await temporal.get_workflow_handle(execution["temporalWorkflowId"]).terminate()


async def test_a_start_that_arrives_after_its_cancellation_is_ended(scene: Scene) -> None:
    db, slow = scene.services.db, Slow(scene.temporal)
    id = await scene.insert("GreetingWorkflow", input="Ada")
    with pytest.raises(Unavailable):
        await starter.settle(db, slow, UUID(id))
    await scene.alice.data(factories.CANCEL, input={"id": id})

    await starter.settle(db, slow, UUID(id))
    assert (await scene.row(id)).start_unsettled, "the start may be on its way"
    await slow.arrive()
    await starter.settle(db, slow, UUID(id))

    assert not (await scene.row(id)).start_unsettled
    described = await scene.handle(id).describe()
    assert described.status is WorkflowExecutionStatus.TERMINATED


async def test_a_start_that_never_arrived_is_settled_in_the_end(scene: Scene) -> None:
    id = await scene.insert("GreetingWorkflow", input="Ada")
    await scene.alice.data(factories.CANCEL, input={"id": id})
    await scene.change(id, updated_at=datetime.now(UTC) - timedelta(minutes=1))

    await starter.settle(scene.services.db, scene.services.temporal, UUID(id))

    assert not (await scene.row(id)).start_unsettled


@pytest.mark.parametrize("is_first", [True, False], ids=["refused first", "started first"])
async def test_of_two_who_start_one_may_be_refused(scene: Scene, is_first: bool) -> None:
    """What runs is told to run, or it is ended: never does it run on unseen."""
    db, fickle = scene.services.db, Fickle(scene.temporal)
    id = await scene.insert("GreetingWorkflow", input="Ada")
    refused = asyncio.create_task(starter.settle(db, fickle, UUID(id)))
    await fickle.asked.wait()
    async with db.read() as connection:
        request = await tracking.start_request(connection, UUID(id))

    if is_first:
        fickle.refuse.set()
        await refused
        await starter.start(db, scene.services.temporal, request)
    else:
        await starter.start(db, scene.services.temporal, request)
        fickle.refuse.set()
        await refused

    row, described = await scene.row(id), await scene.handle(id).describe()
    assert described.status is not None
    assert (row.status, described.status.name) == (
        ("FAILED", "TERMINATED") if is_first else ("RUNNING", "RUNNING")
    )
    assert not row.start_unsettled
