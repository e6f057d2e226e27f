"""The root fields of mutations."""

from functools import partial
from typing import Annotated

import strawberry

from resolvers import control, starts, workflows
from schema.info import Info
from schema.inputs import (
    CancelExecutionInput,
    CreateWorkflowInput,
    RerunExecutionInput,
    SignalExecutionInput,
    StartExecutionInput,
    TerminateExecutionInput,
    UpdateExecutionInput,
    UpdateWorkflowInput,
)
from schema.payloads import (
    ArchiveWorkflowResult,
    ArchiveWorkflowSuccess,
    CancelExecutionResult,
    CancelExecutionSuccess,
    CreateWorkflowResult,
    CreateWorkflowSuccess,
    RerunExecutionResult,
    RerunExecutionSuccess,
    SignalExecutionResult,
    SignalExecutionSuccess,
    StartExecutionResult,
    StartExecutionSuccess,
    TerminateExecutionResult,
    TerminateExecutionSuccess,
    UpdateExecutionResult,
    UpdateExecutionSuccess,
    UpdateWorkflowResult,
    UpdateWorkflowSuccess,
)
from schema.rates import Chargeable

# Each of them is refused where its user has done too much.
_mutation = partial(strawberry.mutation, extensions=[Chargeable()])


@strawberry.type(
    description=(
        "What can be done. Expected failures are members of the result, not errors. Changing workflows needs "
        "the token's scope `workflows:write`, all else `executions:write`."
    )
)
class Mutation:
    @_mutation(description="Register a Temporal workflow type, so that it can be started.")
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

    @_mutation(
        description=(
            "Change a registered workflow. It applies to executions that Temporal starts from now on."
        )
    )
    async def update_workflow(
        self,
        info: Info,
        input: Annotated[UpdateWorkflowInput, strawberry.argument(description="What is to change.")],
    ) -> UpdateWorkflowResult:
        record = await workflows.update_workflow(info.context, id=input.id, changes=input.changes())
        return UpdateWorkflowSuccess.of(record)

    @_mutation(
        description=(
            "Archive a workflow: it cannot be started any more, and its executions stay readable. "
            "Archiving it again changes nothing."
        )
    )
    async def archive_workflow(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The workflow to archive.")],
    ) -> ArchiveWorkflowResult:
        return ArchiveWorkflowSuccess.of(await workflows.archive_workflow(info.context, id=id))

    @_mutation(
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
        outcome = await starts.start_execution(
            info.context,
            workflow_id=input.workflow_id,
            input=input.input,
            labels=input.pairs(),
            start_delay=input.start_delay,
            idempotency_key=input.idempotency_key,
        )
        return StartExecutionSuccess.of(outcome)

    @_mutation(
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
        outcome = await control.cancel_execution(
            info.context, id=input.id, reason=input.reason, expected_version=input.expected_version
        )
        return CancelExecutionSuccess.of(outcome)

    @_mutation(
        description=(
            "Pause, resume or cancel an execution, end it by hand as completed or failed, "
            "or change its labels."
        )
    )
    async def update_execution(
        self,
        info: Info,
        input: Annotated[UpdateExecutionInput, strawberry.argument(description="What is to change.")],
    ) -> UpdateExecutionResult:
        outcome = await control.update_execution(
            info.context,
            id=input.id,
            status=input.status,
            output=input.output,
            message=input.message,
            labels=input.pairs(),
            expected_version=input.expected_version,
        )
        return UpdateExecutionSuccess.of(outcome)

    @_mutation(
        description=(
            "End a workflow at once, without a chance to clean up: its execution is then FAILED, "
            "with the reason TERMINATED."
        )
    )
    async def terminate_execution(
        self,
        info: Info,
        input: Annotated[
            TerminateExecutionInput, strawberry.argument(description="The execution to terminate.")
        ],
    ) -> TerminateExecutionResult:
        outcome = await control.terminate_execution(
            info.context, id=input.id, reason=input.reason, expected_version=input.expected_version
        )
        return TerminateExecutionSuccess.of(outcome)

    @_mutation(
        description="Send a workflow a signal. A paused one gets it when it goes on.",
    )
    async def signal_execution(
        self,
        info: Info,
        input: Annotated[SignalExecutionInput, strawberry.argument(description="The signal to send.")],
    ) -> SignalExecutionResult:
        outcome = await control.signal_execution(
            info.context, id=input.id, signal=input.signal, arguments=input.arguments
        )
        return SignalExecutionSuccess.of(outcome)

    @_mutation(
        description=(
            "Start an execution's workflow anew: a new execution, with the same labels, and the same input "
            "unless another is given."
        )
    )
    async def rerun_execution(
        self,
        info: Info,
        input: Annotated[RerunExecutionInput, strawberry.argument(description="The execution to rerun.")],
    ) -> RerunExecutionResult:
        outcome = await starts.rerun_execution(
            info.context, id=input.id, given=input.given(), idempotency_key=input.idempotency_key
        )
        return RerunExecutionSuccess.of(outcome)
