"""Executions as they are."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.auth import READ_EXECUTIONS
from app.db import Plans
from app.errors import NotFound
from app.filters import ExecutionFilter
from app.listings import ExecutionListing
from app.paging import Page, Paging, window
from app.records import ExecutionRecord, WorkflowRecord
from app.rendering import Fieldset, Rendered
from app.store import executions as store
from app.store import workflows as workflow_store
from resolvers import filters
from resolvers.context import Context, parse_id

# Of a list of which only counts are selected.
NO_ROWS: Page[Any] = Page((), has_next=False, has_previous=False)


async def execution(context: Context, id: str, *, payloads: bool = False) -> ExecutionRecord:
    """One execution, with its payloads where asked; raises NotFound or Forbidden."""
    context.caller.require(READ_EXECUTIONS)
    async with context.db.read(Plans.FOR_ALL) as connection:
        return await store.get(connection, context.caller, parse_id("execution", id), payloads=payloads)


async def rendered_execution(context: Context, id: str, fieldset: Fieldset) -> Rendered:
    """What is selected of one execution; raises NotFound or Forbidden."""
    context.caller.require(READ_EXECUTIONS)
    async with context.db.read(Plans.FOR_ALL) as connection:
        return await store.render(connection, context.caller, parse_id("execution", id), fieldset)


async def executions(
    context: Context,
    listing: ExecutionListing,
    asked: Paging,
    *,
    rows: bool,
    payloads: bool,
    fieldset: Fieldset | None = None,
) -> Page[ExecutionRecord | Rendered]:
    """A page of the caller's executions, with their payloads where asked, or of what is selected of them.

    Without `rows` nothing is read. Raises Forbidden and InvalidInput.
    """
    context.caller.require(READ_EXECUTIONS)
    filters.check_executions(context.caller, listing.chosen)
    wanted = window(asked, listing.binding.key)
    if not rows:
        return NO_ROWS
    async with context.db.read() as connection:
        if fieldset is not None:
            return await store.render_page(connection, context.caller, listing, wanted, fieldset)
        return await store.page(connection, context.caller, listing, wanted, payloads=payloads)


async def workflow_executions(
    context: Context, workflow: WorkflowRecord, listing: ExecutionListing, asked: Paging, *, rows: bool
) -> Page[ExecutionRecord]:
    """A page of those executions of a list that are the workflow's; without `rows` nothing is read.

    Raises Forbidden and InvalidInput.
    """
    context.caller.require(READ_EXECUTIONS)
    filters.check_executions(context.caller, listing.chosen)
    wanted = window(asked, listing.of_workflow(workflow.id).binding.key)
    if not rows:
        return NO_ROWS
    return await context.loaders.workflow_executions(listing, wanted).load(workflow.id)


async def execution_count(context: Context, chosen: ExecutionFilter, workflow_id: UUID | None) -> int:
    """How many of the caller's executions there are, of one workflow where it is given."""
    if workflow_id is None:
        return await context.loaders.execution_count.load(chosen)
    return await context.loaders.workflow_execution_count(chosen).load(workflow_id)


async def execution_workflow(context: Context, execution: ExecutionRecord) -> WorkflowRecord:
    """The workflow that the execution was started from."""
    found = await context.loaders.workflow.load(execution.workflow_id)
    if found is None:
        raise NotFound("workflow", execution.workflow_id)
    return found


async def execution_workflows(
    context: Context, executions: Sequence[ExecutionRecord], fieldset: Fieldset | None
) -> Sequence[WorkflowRecord | Rendered]:
    """The workflows that several executions were started from, in their order, or what is selected of them.

    Raises NotFound.
    """
    wanted = [each.workflow_id for each in executions]
    found: Mapping[UUID, WorkflowRecord | Rendered]
    async with context.db.read() as connection:
        if fieldset is not None:
            found = await workflow_store.render(connection, context.caller, wanted, fieldset)
        else:
            found = await workflow_store.by_ids(connection, context.caller, wanted)
    for id in wanted:
        if id not in found:
            raise NotFound("workflow", id)
    return [found[id] for id in wanted]


async def execution_input(context: Context, execution: ExecutionRecord) -> Any:
    """The input that the execution was started with."""
    payloads = execution.payloads or await context.loaders.payloads.load(execution.id)
    return payloads and payloads.input


async def execution_output(context: Context, execution: ExecutionRecord) -> Any:
    """The workflow's result; None before it has completed."""
    payloads = execution.payloads or await context.loaders.payloads.load(execution.id)
    return payloads and payloads.output


async def execution_rerun_of(context: Context, execution: ExecutionRecord) -> ExecutionRecord | None:
    """The execution that this one was rerun from."""
    if execution.rerun_of is None:
        return None
    return await context.loaders.execution.load(execution.rerun_of)
