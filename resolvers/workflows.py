"""Workflows: what a user may start."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app import inputs
from app.auth import READ_WORKFLOWS, WRITE_WORKFLOWS
from app.listings import WorkflowListing
from app.paging import Page, Paging, window
from app.records import WorkflowRecord
from app.store import workflows as store
from resolvers import filters
from resolvers.context import Context, parse_id


async def workflow(context: Context, id: str) -> WorkflowRecord:
    """One workflow; raises NotFound or Forbidden."""
    context.caller.require(READ_WORKFLOWS)
    async with context.db.read() as connection:
        return await store.get(connection, context.caller, parse_id("workflow", id))


async def workflows(context: Context, listing: WorkflowListing, asked: Paging) -> Page[WorkflowRecord]:
    """A page of the caller's workflows; raises Forbidden and InvalidInput."""
    context.caller.require(READ_WORKFLOWS)
    inputs.check(filters.search("/search", listing.search))
    wanted = window(asked, listing.binding.key)
    async with context.db.read() as connection:
        return await store.page(connection, context.caller, listing, wanted)


async def workflow_count(context: Context, listing: WorkflowListing) -> int:
    """How many workflows the caller's list has in all."""
    async with context.db.read() as connection:
        return await store.count(connection, context.caller, listing)


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
    values = {
        "name": name,
        "description": description,
        "workflow_type": workflow_type,
        "task_queue": task_queue,
        "input_schema": input_schema,
        "execution_timeout": execution_timeout,
    }
    await _check(context, values)
    now = datetime.now(UTC)
    values |= {"owner_id": context.caller.owner, "created_at": now, "updated_at": now}
    async with context.db.write() as tx:
        return await store.create(tx, values)


async def update_workflow(context: Context, *, id: str, changes: Mapping[str, Any]) -> WorkflowRecord:
    """Change what is given of a workflow; executions that were started before keep what they began with.

    Raises NotFound, Forbidden or InvalidInput.
    """
    context.caller.require(WRITE_WORKFLOWS)
    await _check(context, changes)
    async with context.db.write() as tx:
        found = await store.lock(tx, context.caller, parse_id("workflow", id))
        if not changes:
            return found
        return await store.change(tx, found, {**changes, "updated_at": datetime.now(UTC)})


async def archive_workflow(context: Context, *, id: str) -> WorkflowRecord:
    """Let a workflow be started no more; one that is archived stays as it is.

    Raises NotFound or Forbidden.
    """
    context.caller.require(WRITE_WORKFLOWS)
    now = datetime.now(UTC)
    async with context.db.write() as tx:
        found = await store.lock(tx, context.caller, parse_id("workflow", id))
        if found.archived_at is not None:
            return found
        return await store.change(tx, found, {"archived_at": now, "updated_at": now})


async def _check(context: Context, values: Mapping[str, Any]) -> None:
    """Raise InvalidInput with every issue of what is given of a workflow."""
    schema = values.get("input_schema")
    unreadable = list(inputs.json("/inputSchema", schema))
    judge = context.services.judge
    wrong = unreadable or (schema is not None and await judge.schema_issues("/inputSchema", schema)) or []
    inputs.check(
        inputs.given("/name", values, "name"),
        inputs.name("/name", values.get("name")),
        inputs.text("/description", values.get("description")),
        inputs.given("/workflowType", values, "workflow_type"),
        inputs.name("/workflowType", values.get("workflow_type")),
        inputs.given("/taskQueue", values, "task_queue"),
        inputs.name("/taskQueue", values.get("task_queue")),
        iter(wrong),
        inputs.positive("/executionTimeout", values.get("execution_timeout")),
    )
