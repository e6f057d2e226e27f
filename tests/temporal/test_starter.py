"""A start that several settle: whoever comes late changes nothing."""

from uuid import UUID

from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus

from app import starter
from resolvers.context import Services
from tests import factories
from tests.client import Client


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
