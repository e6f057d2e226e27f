"""Executions as they are."""

from typing import Any

from app.auth import READ_EXECUTIONS
from app.errors import NotFound
from app.paging import Page, newest_key, page_size
from app.records import ExecutionRecord, WorkflowRecord
from app.store import executions as store
from resolvers.context import Context, parse_id


async def execution(context: Context, id: str) -> ExecutionRecord:
    """One execution; raises NotFound or Forbidden."""
    context.caller.require(READ_EXECUTIONS)
    async with context.db.read() as connection:
        return await store.get(connection, context.caller, parse_id("execution", id))


async def executions(context: Context, first: int | None, after: str | None) -> Page[ExecutionRecord]:
    """A page of the caller's executions, newest first; raises InvalidInput."""
    context.caller.require(READ_EXECUTIONS)
    size, key = page_size(first), newest_key(after) if after else None
    async with context.db.read() as connection:
        return await store.newest(connection, context.caller, size, key)


async def execution_count(context: Context) -> int:
    """How many executions the caller's list has in all."""
    async with context.db.read() as connection:
        return await store.count(connection, context.caller)


async def execution_workflow(context: Context, execution: ExecutionRecord) -> WorkflowRecord:
    """The workflow that the execution was started from."""
    found = await context.loaders.workflow.load(execution.workflow_id)
    if found is None:
        raise NotFound("workflow", execution.workflow_id)
    return found


async def execution_input(context: Context, execution: ExecutionRecord) -> Any:
    """The input that the execution was started with."""
    payloads = await context.loaders.payloads.load(execution.id)
    return payloads and payloads[0]


async def execution_output(context: Context, execution: ExecutionRecord) -> Any:
    """The workflow's result; None before it has completed."""
    payloads = await context.loaders.payloads.load(execution.id)
    return payloads and payloads[1]


async def execution_rerun_of(context: Context, execution: ExecutionRecord) -> ExecutionRecord | None:
    """The execution that this one was rerun from."""
    if execution.rerun_of is None:
        return None
    return await context.loaders.execution.load(execution.rerun_of)
