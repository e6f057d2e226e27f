"""The results of mutations: a success, or a failure as data."""

from typing import Annotated, Self

import strawberry

from app.paging import feed_cursor
from app.records import WorkflowRecord
from resolvers.outcome import Outcome
from schema.errors import (
    ForbiddenError,
    IdempotencyConflictError,
    InvalidInputError,
    InvalidTransitionError,
    NotFoundError,
    NotSupportedError,
    RateLimitedError,
    UnavailableError,
    VersionConflictError,
)
from schema.types import Execution, Workflow

WHOLE = "Whoever may change it is shown all of it, without the scope `executions:read`."
EXECUTION = f"The execution as it is now. {WHOLE}"
CURSOR = "The feed's position: subscribe with `after: cursor` and nothing that follows this is missed."


@strawberry.type(description="A workflow after a mutation.")
class _Registered:
    workflow: Workflow = strawberry.field(description="The workflow as it is now.")

    @classmethod
    def of(cls, record: WorkflowRecord) -> Self:
        return cls(workflow=Workflow.of(record))


@strawberry.type(description="The workflow was registered.")
class CreateWorkflowSuccess(_Registered):
    pass


@strawberry.type(description="The workflow was changed.")
class UpdateWorkflowSuccess(_Registered):
    pass


@strawberry.type(description="The workflow is archived: it cannot be started any more.")
class ArchiveWorkflowSuccess(_Registered):
    pass


@strawberry.type(description="The execution was accepted; it is PENDING while Temporal does not answer.")
class StartExecutionSuccess:
    execution: Execution = strawberry.field(description=f"The new execution. {WHOLE}")
    cursor: str = strawberry.field(description=CURSOR)
    replayed: bool = strawberry.field(
        description="True where an earlier request with this idempotencyKey started it."
    )

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        return cls(
            execution=Execution.of(outcome.execution),
            cursor=feed_cursor(outcome.position),
            replayed=outcome.replayed,
        )


@strawberry.type(description="An execution after it was asked for something.")
class _Asked:
    execution: Execution = strawberry.field(description=EXECUTION)
    cursor: str = strawberry.field(description=CURSOR)

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        return cls(execution=Execution.of(outcome.execution), cursor=feed_cursor(outcome.position))


@strawberry.type(description="The execution was changed, or Temporal has taken what was asked of it.")
class UpdateExecutionSuccess(_Asked):
    pass


@strawberry.type(
    description="The cancellation was asked for; the status changes when the workflow has ended."
)
class CancelExecutionSuccess(_Asked):
    pass


@strawberry.type(description="The execution was ended.")
class TerminateExecutionSuccess(_Asked):
    pass


@strawberry.type(description="Temporal has the signal and hands it to the workflow.")
class SignalExecutionSuccess(_Asked):
    pass


@strawberry.type(description="A new execution was accepted; it is PENDING while Temporal does not answer.")
class RerunExecutionSuccess(_Asked):
    pass


CreateWorkflowResult = Annotated[
    CreateWorkflowSuccess | ForbiddenError | InvalidInputError | RateLimitedError,
    strawberry.union("CreateWorkflowResult", description="What `createWorkflow` answers."),
]
StartExecutionResult = Annotated[
    StartExecutionSuccess
    | NotFoundError
    | ForbiddenError
    | InvalidInputError
    | IdempotencyConflictError
    | RateLimitedError
    | UnavailableError,
    strawberry.union("StartExecutionResult", description="What `startExecution` answers."),
]
CancelExecutionResult = Annotated[
    CancelExecutionSuccess
    | NotFoundError
    | ForbiddenError
    | InvalidTransitionError
    | VersionConflictError
    | RateLimitedError
    | UnavailableError,
    strawberry.union("CancelExecutionResult", description="What `cancelExecution` answers."),
]
UpdateExecutionResult = Annotated[
    UpdateExecutionSuccess
    | NotFoundError
    | ForbiddenError
    | InvalidInputError
    | InvalidTransitionError
    | VersionConflictError
    | NotSupportedError
    | RateLimitedError
    | UnavailableError,
    strawberry.union("UpdateExecutionResult", description="What `updateExecution` answers."),
]
TerminateExecutionResult = Annotated[
    TerminateExecutionSuccess
    | NotFoundError
    | ForbiddenError
    | InvalidTransitionError
    | VersionConflictError
    | RateLimitedError
    | UnavailableError,
    strawberry.union("TerminateExecutionResult", description="What `terminateExecution` answers."),
]
SignalExecutionResult = Annotated[
    SignalExecutionSuccess
    | NotFoundError
    | ForbiddenError
    | InvalidInputError
    | InvalidTransitionError
    | RateLimitedError
    | UnavailableError,
    strawberry.union("SignalExecutionResult", description="What `signalExecution` answers."),
]
RerunExecutionResult = Annotated[
    RerunExecutionSuccess
    | NotFoundError
    | ForbiddenError
    | InvalidInputError
    | IdempotencyConflictError
    | RateLimitedError
    | UnavailableError,
    strawberry.union("RerunExecutionResult", description="What `rerunExecution` answers."),
]
UpdateWorkflowResult = Annotated[
    UpdateWorkflowSuccess | NotFoundError | ForbiddenError | InvalidInputError | RateLimitedError,
    strawberry.union("UpdateWorkflowResult", description="What `updateWorkflow` answers."),
]
ArchiveWorkflowResult = Annotated[
    ArchiveWorkflowSuccess | NotFoundError | ForbiddenError | RateLimitedError,
    strawberry.union("ArchiveWorkflowResult", description="What `archiveWorkflow` answers."),
]
