"""Workflows: what a user may start."""

from datetime import UTC, datetime
from typing import Any

from app import inputs
from app.auth import READ_WORKFLOWS, WRITE_WORKFLOWS
from app.paging import Page, newest_key, page_size
from app.records import WorkflowRecord
from app.store import workflows as store
from resolvers.context import Context, parse_id


async def workflow(context: Context, id: str) -> WorkflowRecord:
    """One workflow; raises NotFound or Forbidden."""
    context.caller.require(READ_WORKFLOWS)
    async with context.db.read() as connection:
        return await store.get(connection, context.caller, parse_id("workflow", id))


async def workflows(
    context: Context, first: int | None, after: str | None, *, include_archived: bool
) -> Page[WorkflowRecord]:
    """A page of the caller's workflows, newest first; raises InvalidInput."""
    context.caller.require(READ_WORKFLOWS)
    size, key = page_size(first), newest_key(after) if after else None
    async with context.db.read() as connection:
        return await store.newest(connection, context.caller, size, key, archived=include_archived)


async def workflow_count(context: Context, *, include_archived: bool) -> int:
    """How many workflows the caller's list has in all."""
    async with context.db.read() as connection:
        return await store.count(connection, context.caller, archived=include_archived)


async def input_schema(context: Context, workflow: WorkflowRecord) -> Any:
    """The JSON Schema that an execution's input must satisfy."""
    return await context.loaders.input_schema.load(workflow.id)


async def create_workflow(
    context: Context,
    *,
    name: str,
    description: str | None,
    workflow_type: str,
    task_queue: str,
    input_schema: Any,
    execution_timeout: int | None,
) -> WorkflowRecord:
    """Register a workflow type that some worker runs; raises Forbidden or InvalidInput."""
    context.caller.require(WRITE_WORKFLOWS)
    inputs.check(
        inputs.name("/name", name),
        inputs.text("/description", description),
        inputs.name("/workflowType", workflow_type),
        inputs.name("/taskQueue", task_queue),
        inputs.json("/inputSchema", input_schema),
        inputs.positive("/executionTimeout", execution_timeout),
    )
    now = datetime.now(UTC)
    async with context.db.write() as tx:
        return await store.create(
            tx,
            {
                "owner_id": context.caller.owner,
                "name": name,
                "description": description,
                "workflow_type": workflow_type,
                "task_queue": task_queue,
                "input_schema": input_schema,
                "execution_timeout": execution_timeout,
                "created_at": now,
                "updated_at": now,
            },
        )
