"""The root fields of mutations."""

from typing import Annotated

import strawberry

from resolvers import executions, workflows
from schema.info import Info
from schema.inputs import CancelExecutionInput, CreateWorkflowInput, StartExecutionInput
from schema.payloads import (
    CancelExecutionResult,
    CancelExecutionSuccess,
    CreateWorkflowResult,
    CreateWorkflowSuccess,
    StartExecutionResult,
    StartExecutionSuccess,
)


@strawberry.type(description="What can be done. Expected failures are members of the result, not errors.")
class Mutation:
    @strawberry.mutation(description="Register a Temporal workflow type, so that it can be started.")
    async def create_workflow(
        self,
        info: Info,
        input: Annotated[CreateWorkflowInput, strawberry.argument(description="The workflow to register.")],
    ) -> CreateWorkflowResult:
        record = await workflows.create_workflow(
            info.context,
            name=input.name,
            description=input.description,
            workflow_type=input.workflow_type,
            task_queue=input.task_queue,
            input_schema=input.input_schema,
            execution_timeout=input.execution_timeout,
        )
        return CreateWorkflowSuccess.of(record)

    @strawberry.mutation(
        description=(
            "Start a workflow. While Temporal does not answer, the execution stays PENDING and is started "
            "later: nothing is lost."
        )
    )
    async def start_execution(
        self,
        info: Info,
        input: Annotated[StartExecutionInput, strawberry.argument(description="The execution to start.")],
    ) -> StartExecutionResult:
        outcome = await executions.start_execution(
            info.context,
            workflow_id=input.workflow_id,
            input=input.input,
            idempotency_key=input.idempotency_key,
        )
        return StartExecutionSuccess.of(outcome)

    @strawberry.mutation(
        description=(
            "Ask a workflow to cancel itself; one that Temporal has not started is cancelled at once. "
            "Asking again while it winds up changes nothing."
        )
    )
    async def cancel_execution(
        self,
        info: Info,
        input: Annotated[CancelExecutionInput, strawberry.argument(description="The execution to cancel.")],
    ) -> CancelExecutionResult:
        outcome = await executions.cancel_execution(
            info.context, id=input.id, reason=input.reason, expected_version=input.expected_version
        )
        return CancelExecutionSuccess.of(outcome)
