"""The inputs of mutations."""

import strawberry

from schema.scalars import JSON


@strawberry.input(description="A workflow to register.")
class CreateWorkflowInput:
    name: str = strawberry.field(description="For people; 1 to 255 characters.")
    workflow_type: str = strawberry.field(
        description="Temporal workflow type name, as the workers register it."
    )
    task_queue: str = strawberry.field(description="The Temporal task queue that its workers poll.")
    description: str | None = strawberry.field(
        default=None, description="For people; 10,000 characters at most."
    )
    input_schema: JSON | None = strawberry.field(
        default=None, description="JSON Schema (2020-12) for the input; null accepts any JSON."
    )
    execution_timeout: int | None = strawberry.field(
        default=None, description="Whole-execution timeout handed to Temporal, in seconds; null means none."
    )


@strawberry.input(description="An execution to start.")
class StartExecutionInput:
    workflow_id: strawberry.ID = strawberry.field(
        description="The workflow to start; it must not be archived."
    )
    input: JSON | None = strawberry.field(
        default=None, description="The workflow's one argument; null starts it with none."
    )


@strawberry.input(description="An execution to cancel.")
class CancelExecutionInput:
    id: strawberry.ID = strawberry.field(description="The execution.")
    reason: str | None = strawberry.field(
        default=None, description="Why, for people; cut after 1,000 characters."
    )
    expected_version: int | None = strawberry.field(
        default=None, description="Refuse unless the execution is at this version; null does not check."
    )
