"""Workflows in Postgres."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)
from sqlmodel import col

from app.auth import Caller
from app.db import Connection, Transaction
from app.errors import Forbidden, NotFound
from app.listings import OrderDirection, WorkflowListing, WorkflowOrderField
from app.paging import Key, Page, Window
from app.records import Startable, WorkflowRecord
from app.rendering import Fieldset, Rendered
from app.statements import Prepared
from app.store import keyset
from app.store.keyset import Order
from app.store.membership import one_of
from app.store.patterns import containing
from app.store.rendering import FIELDSETS, NO_PLACE, WORKFLOW, rendered
from app.tables import Workflow

_COLUMNS: Sequence[Any] = [
    col(Workflow.id),
    col(Workflow.owner_id),
    col(Workflow.name),
    col(Workflow.description),
    col(Workflow.workflow_type),
    col(Workflow.task_queue),
    col(Workflow.execution_timeout),
    col(Workflow.created_at),
    col(Workflow.updated_at),
    col(Workflow.archived_at),
]


_ID = col(Workflow.id)
# Of the transaction that wrote the row: every change makes another.
ROW_VERSION: ColumnElement[str] = literal_column("workflow.xmin::text", Text)


def _one(*columns: Any) -> Select[*tuple[Any, ...]]:
    return select(*columns).where(bindparam("id") == _ID)


_ONE = Prepared(_one(*_COLUMNS))
_STARTABLE = Prepared(_one(*_COLUMNS, col(Workflow.input_schema), ROW_VERSION))
_LOCKED = Prepared(_one(*_COLUMNS).with_for_update())


def visible(caller: Caller) -> ColumnElement[bool]:
    """The workflows that the caller may see."""
    return true() if caller.is_admin else col(Workflow.owner_id) == caller.owner


def named(caller: Caller, search: str) -> Select[tuple[UUID]]:
    """The ids, as `value`, of the caller's workflows whose names have the text in them."""
    return select(_ID.label("value")).where(visible(caller), _has_name(search))


def those_of(caller: Caller, ids: Collection[UUID]) -> Select[tuple[UUID]]:
    """Those of the ids, as `value`, that are of workflows which the caller may see."""
    return select(_ID.label("value")).where(visible(caller), one_of(_ID, ids))


async def create(tx: Transaction, values: dict[str, Any]) -> WorkflowRecord:
    """Insert a workflow; `values` are its columns."""
    result = await tx.connection.execute(insert(Workflow).values(**values).returning(*_COLUMNS))
    return WorkflowRecord(*result.one())


async def get(connection: Connection, caller: Caller, workflow_id: UUID) -> WorkflowRecord:
    """One workflow; raises NotFound, or Forbidden where it is another user's."""
    result = await connection.execute(_ONE, {"id": workflow_id})
    return _permitted(result.of(WorkflowRecord._make), caller, workflow_id)


async def get_startable(connection: Connection, caller: Caller, workflow_id: UUID) -> Startable:
    """One workflow as it can be started; raises NotFound, or Forbidden where it is another user's."""
    rows = await connection.execute(_STARTABLE, {"id": workflow_id})
    found = [Startable(WorkflowRecord(*columns), schema, version) for *columns, schema, version in rows]
    _permitted([each.workflow for each in found], caller, workflow_id)
    return found[0]


async def lock(tx: Transaction, caller: Caller, workflow_id: UUID) -> WorkflowRecord:
    """One workflow, its row locked until the transaction ends; raises NotFound or Forbidden."""
    found = await tx.connection.execute(_LOCKED, {"id": workflow_id})
    return _permitted(found.of(WorkflowRecord._make), caller, workflow_id)


async def change(tx: Transaction, workflow: WorkflowRecord, changes: Mapping[str, Any]) -> WorkflowRecord:
    """Change columns of a locked workflow."""
    statement = update(Workflow).where(col(Workflow.id) == workflow.id).values(**changes)
    return WorkflowRecord(*(await tx.connection.execute(statement.returning(*_COLUMNS))).one())


async def by_ids(connection: Connection, caller: Caller, ids: Sequence[UUID]) -> dict[UUID, WorkflowRecord]:
    """Those of the workflows that exist and that the caller may see."""
    statement = _these(None, of_all_owners=caller.is_admin)
    result = await connection.execute(statement, {"owner": caller.owner, "ids": list(set(ids))})
    return {row.id: row for row in result.of(WorkflowRecord._make)}


async def render(
    connection: Connection, caller: Caller, ids: Sequence[UUID], fieldset: Fieldset
) -> dict[UUID, Rendered]:
    """What is selected of those of the workflows that exist and that the caller may see."""
    statement = _these(fieldset, of_all_owners=caller.is_admin)
    result = await connection.execute(statement, {"owner": caller.owner, "ids": list(set(ids))})
    return {row.key: row for row in result.of(rendered)}


@lru_cache(FIELDSETS)
def _these(fieldset: Fieldset | None, *, of_all_owners: bool) -> Prepared:
    """The statement for workflows of these `ids`, or for what is selected of them."""
    somebody = keyset.somebody(of_all_owners=of_all_owners)
    among: ColumnElement[bool] = any_(bindparam("ids", type_=ARRAY(Uuid())))
    columns = _COLUMNS if fieldset is None else (WORKFLOW.text(fieldset), _ID, NO_PLACE)
    return Prepared(select(*columns).where(visible(somebody), among == _ID))


async def page(
    connection: Connection, caller: Caller, listing: WorkflowListing, window: Window[Key]
) -> Page[WorkflowRecord]:
    """A page of the caller's workflows."""
    value = col(Workflow.name if listing.field is WorkflowOrderField.NAME else Workflow.created_at)
    order = Order(value, listing.direction is OrderDirection.DESC, _ID)
    rows = await connection.execute(order.window(select(*_COLUMNS).where(*_listed(caller, listing)), window))
    return window.cut(rows.of(WorkflowRecord._make))


async def count(connection: Connection, caller: Caller, listing: WorkflowListing) -> int:
    """How many workflows the caller's list has in all."""
    query = select(func.count()).select_from(Workflow).where(*_listed(caller, listing))
    return int((await connection.execute(query)).scalar_one())


async def input_schemas(connection: Connection, caller: Caller, ids: Sequence[UUID]) -> dict[UUID, Any]:
    """The input schemas of those workflows that the caller may see."""
    query = select(col(Workflow.id), col(Workflow.input_schema))
    rows = await connection.execute(query.where(visible(caller), one_of(_ID, set(ids))))
    return {row.id: row.input_schema for row in rows}


def _permitted(found: Sequence[WorkflowRecord], caller: Caller, workflow_id: UUID) -> WorkflowRecord:
    if not found:
        raise NotFound("workflow", workflow_id)
    if not caller.may_see(found[0].owner_id):
        raise Forbidden("This workflow belongs to another user; only they or an admin may have it.")
    return found[0]


def _listed(caller: Caller, listing: WorkflowListing) -> Iterator[ColumnElement[bool]]:
    yield visible(caller)
    if not listing.archived:
        yield col(Workflow.archived_at).is_(None)
    if listing.search is not None:
        yield _has_name(listing.search)


def _has_name(search: str) -> ColumnElement[bool]:
    return col(Workflow.name).ilike(containing(search))
