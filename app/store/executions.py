"""Executions in Postgres. They come and change only through `events`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from operator import attrgetter
from typing import Any, Self, TypeVar
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    String,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy import DateTime as Timestamp
from sqlmodel import col

from app.auth import Caller
from app.db import Connection, Transaction
from app.errors import Forbidden, NotFound
from app.filters import EVERY_EXECUTION, ExecutionFilter
from app.listings import ExecutionListing, ExecutionOrderField, OrderDirection
from app.paging import Key, Page, Window
from app.records import ExecutionRecord, Payloads
from app.rendering import Fieldset, Rendered
from app.statements import Prepared
from app.statements import Rows as Result
from app.store import keyset, narrowing, workflows
from app.store.keyset import Order, Rows
from app.store.membership import one_of
from app.store.rendering import EXECUTION, FIELDSETS, NO_PLACE, rendered
from app.tables import LAST_STARTED, RECORDED, Execution

R = TypeVar("R")
Columns = tuple[Any, ...]

COLUMNS: Columns = (
    col(Execution.id),
    col(Execution.owner_id),
    col(Execution.workflow_id),
    col(Execution.status),
    col(Execution.version),
    col(Execution.failure),
    col(Execution.labels),
    col(Execution.rerun_of),
    col(Execution.started_by),
    col(Execution.temporal_workflow_id),
    col(Execution.temporal_run_id),
    col(Execution.created_at),
    col(Execution.started_at),
    col(Execution.completed_at),
    col(Execution.updated_at),
)


# As the texts that Postgres has: who gets them gets them unchanged.
_PAYLOADS: Columns = (
    cast(col(Execution.input), Text).label("input"),
    cast(col(Execution.output), Text).label("output"),
)

_VALUES: Mapping[ExecutionOrderField, Any] = {
    ExecutionOrderField.CREATED_AT: col(Execution.created_at),
    ExecutionOrderField.STARTED_AT: literal_column(LAST_STARTED, Timestamp(timezone=True)),
    ExecutionOrderField.COMPLETED_AT: narrowing.ENDED,
    ExecutionOrderField.UPDATED_AT: col(Execution.updated_at),
}


def _one(*columns: Any) -> Select[*tuple[Any, ...]]:
    return select(*columns).where(col(Execution.id) == bindparam("id"))


# What tells a list's order of creation.
PLACE: Columns = (col(Execution.id), col(Execution.created_at))

_ONE, _ONE_WITH_PAYLOADS = Prepared(_one(*COLUMNS)), Prepared(_one(*COLUMNS, *_PAYLOADS))
# Those who refer to it, as a rerun does, are not held up.
_LOCKED = Prepared(_one(*COLUMNS).with_for_update(key_share=True))
_owner, _key = attrgetter("owner_id"), attrgetter("key")


def visible(caller: Caller) -> ColumnElement[bool]:
    """The executions that the caller may see."""
    # Everything is recorded; only so will Postgres use the indexes of all owners' lists.
    return literal_column(RECORDED, Boolean) if caller.is_admin else col(Execution.owner_id) == caller.owner


async def get(
    connection: Connection, caller: Caller, execution_id: UUID, *, payloads: bool = False
) -> ExecutionRecord:
    """One execution, with its payloads where asked; raises NotFound, or Forbidden for another user's."""
    query = _ONE_WITH_PAYLOADS if payloads else _ONE
    found = (await connection.execute(query, {"id": execution_id})).of(_made(payloads=payloads))
    return _permitted(found, _owner, caller, execution_id)


async def render(connection: Connection, caller: Caller, execution_id: UUID, fieldset: Fieldset) -> Rendered:
    """What is selected of one execution; raises NotFound, or Forbidden for another user's."""
    found = (await connection.execute(_one_rendered(fieldset), {"id": execution_id})).of(rendered)
    return _permitted(found, _key, caller, execution_id)


async def lock(tx: Transaction, caller: Caller, execution_id: UUID) -> ExecutionRecord:
    """One execution, its row locked until the transaction ends; raises NotFound or Forbidden."""
    found = (await tx.connection.execute(_LOCKED, {"id": execution_id})).of(ExecutionRecord.of)
    return _permitted(found, _owner, caller, execution_id)


async def by_ids(connection: Connection, caller: Caller, ids: Sequence[UUID]) -> dict[UUID, ExecutionRecord]:
    """Those of the executions that exist and that the caller may see."""
    query = select(*COLUMNS).where(visible(caller), one_of(col(Execution.id), set(ids)))
    return {row.id: row for row in (await connection.execute(query)).of(ExecutionRecord.of)}


async def page(
    connection: Connection,
    caller: Caller,
    listing: ExecutionListing,
    window: Window[Key],
    *,
    payloads: bool = False,
) -> Page[ExecutionRecord]:
    """A page of the caller's executions, with their payloads where asked."""
    rows = await _page(connection, caller, listing, window, payloads=payloads)
    return window.cut(rows.of(_made(payloads=payloads)))


async def render_page(
    connection: Connection,
    caller: Caller,
    listing: ExecutionListing,
    window: Window[Key],
    fieldset: Fieldset,
) -> Page[Rendered]:
    """What is selected of the executions on a page."""
    rows = await _page(connection, caller, listing, window, fieldset=fieldset)
    return window.cut(rows.of(rendered))


async def _page(
    connection: Connection,
    caller: Caller,
    listing: ExecutionListing,
    window: Window[Key],
    *,
    payloads: bool = False,
    fieldset: Fieldset | None = None,
) -> Result:
    if listing.chosen == EVERY_EXECUTION and keyset.is_plain(window):
        statement = _whole_list(
            listing.field,
            listing.direction,
            of_all_owners=caller.is_admin,
            payloads=payloads,
            fieldset=fieldset,
            after=window.after is not None,
            backward=window.backward,
        )
        return await connection.execute(statement, {"owner": caller.owner, **keyset.values_of(window)})
    reader = _Reader(caller, _listed(listing.field, fieldset, payloads=payloads), fieldset)
    return await connection.execute(_window(reader, listing, window))


async def pages(
    connection: Connection,
    caller: Caller,
    workflow_ids: Sequence[UUID],
    listing: ExecutionListing,
    window: Window[Key],
) -> dict[UUID, Page[ExecutionRecord]]:
    """The same page of the executions of each of several workflows."""
    rows, theirs = _Reader(caller).of_workflows(listing.chosen), workflows.those_of(caller, set(workflow_ids))
    query = _order(listing).window_of_each(rows, theirs.subquery(), col(Execution.workflow_id), window)
    found = (await connection.execute(query)).of(ExecutionRecord.of)
    return keyset.pages(workflow_ids, found, "workflow_id", window)


async def count(connection: Connection, caller: Caller, chosen: ExecutionFilter) -> int:
    """How many of the caller's executions there are."""
    rows = select(func.count()).select_from(Execution).where(visible(caller))
    if chosen.search is None:
        query = rows.where(*narrowing.of_executions(caller, chosen))
    else:
        # Neither index finds what the other one does: so they are counted one by one.
        rest, named = replace(chosen, search=None), workflows.named(caller, chosen.search).cte("named")
        is_named = col(Execution.workflow_id).in_(select(named.c.value))
        counted = rows.where(*narrowing.of_executions(caller, rest))
        others = counted.where(narrowing.has_text(chosen.search), ~is_named)
        query = select(counted.where(is_named).scalar_subquery() + others.scalar_subquery())
    return int((await connection.execute(query)).scalar_one())


async def counts_by_workflow(
    connection: Connection, caller: Caller, workflow_ids: Sequence[UUID], chosen: ExecutionFilter
) -> dict[UUID, int]:
    """How many executions each of several workflows has."""
    workflow = col(Execution.workflow_id)
    query = select(workflow, func.count()).where(visible(caller), one_of(workflow, set(workflow_ids)))
    narrowed = query.where(*narrowing.of_executions(caller, chosen)).group_by(workflow)
    found = {row[0]: row[1] for row in await connection.execute(narrowed)}
    return {id: found.get(id, 0) for id in workflow_ids}


async def payloads(connection: Connection, caller: Caller, ids: Sequence[UUID]) -> dict[UUID, Payloads]:
    """The payloads of those executions that the caller may see."""
    query = select(col(Execution.id), *_PAYLOADS)
    rows = await connection.execute(query.where(visible(caller), one_of(col(Execution.id), set(ids))))
    return {id: Payloads.of(*texts) for id, *texts in rows}


def _permitted(found: Sequence[R], owner: Callable[[R], str], caller: Caller, execution_id: UUID) -> R:
    if not found:
        raise NotFound("execution", execution_id)
    if not caller.may_see(owner(found[0])):
        raise Forbidden("This execution belongs to another user; only they or an admin may have it.")
    return found[0]


def _listed(field: ExecutionOrderField, fieldset: Fieldset | None, *, payloads: bool) -> Columns:
    """The columns of a list's rows."""
    if fieldset is not None:
        return (EXECUTION.text(fieldset), col(Execution.id), EXECUTION.table.c[field.lower()])
    return (*COLUMNS, *_PAYLOADS) if payloads else COLUMNS


@lru_cache(FIELDSETS)
def _one_rendered(fieldset: Fieldset) -> Prepared:
    return Prepared(_one(EXECUTION.text(fieldset), col(Execution.owner_id), NO_PLACE))


def _made(*, payloads: bool) -> Callable[[Iterable[Any]], ExecutionRecord]:
    return ExecutionRecord.with_payloads if payloads else ExecutionRecord.of


def _order(listing: ExecutionListing) -> Order:
    return Order(_VALUES[listing.field], listing.direction is OrderDirection.DESC, col(Execution.id))


@dataclass(frozen=True)
class _Reader:
    """Who reads, and which columns: of what is to be rendered there are few."""

    caller: Caller
    columns: Columns = COLUMNS
    fieldset: Fieldset | None = None

    @property
    def of_candidates(self) -> Self:
        """Reads what may not be on the page at last, of which nothing is rendered."""
        return self if self.fieldset is None else replace(self, columns=PLACE)

    def chosen(self, chosen: ExecutionFilter) -> Rows:
        """The chosen executions that the caller may see."""
        return self.of_workflows(chosen).where(visible(self.caller))

    def of_workflows(self, chosen: ExecutionFilter) -> Rows:
        """The chosen executions of workflows that the caller may see: with these, they have one owner.

        Told of the owner again, Postgres would expect far fewer, and sort them all for one page.
        """
        return select(*self.columns).where(*narrowing.of_executions(self.caller, chosen))

    def shown(self, page: Rows, order: Order, window: Window[Key]) -> Rows:
        """A page of candidates with all that is read of it."""
        if self.fieldset is None:
            return page
        candidates = page.subquery()
        found = select(*self.columns).join(candidates, col(Execution.id) == candidates.c.id)
        return found.order_by(*order.columns(window))


@lru_cache(FIELDSETS)
def _whole_list(
    field: ExecutionOrderField,
    direction: OrderDirection,
    *,
    of_all_owners: bool,
    payloads: bool,
    fieldset: Fieldset | None,
    after: bool,
    backward: bool,
) -> Prepared:
    """The statement for pages of a list that is not narrowed, of any `owner`."""
    columns = _listed(field, fieldset, payloads=payloads)
    reader = _Reader(keyset.somebody(of_all_owners=of_all_owners), columns, fieldset)
    listing = ExecutionListing(field=field, direction=direction)
    return keyset.prepared(partial(_window, reader, listing), after=after, backward=backward)


def _window(reader: _Reader, listing: ExecutionListing, window: Window[Key]) -> Rows:
    """The query for a window's rows, which reads no more of an index than it must."""
    order = _order(listing)
    candidates = _candidates(reader.of_candidates, listing, order, window)
    if candidates is None:
        return order.window(reader.chosen(listing.chosen), window)
    return reader.shown(order.merged(candidates, window), order, window)


def _candidates(
    reader: _Reader, listing: ExecutionListing, order: Order, window: Window[Key]
) -> Sequence[Rows] | None:
    """What is read side by side and merged; None where one index has the whole list in its order.

    An index by workflow or by status has the order of creation within each. So have the executions that a
    search finds by their workflow's name.
    """
    chosen = listing.chosen
    if listing.field is not ExecutionOrderField.CREATED_AT:
        return None
    if chosen.workflow_ids is not None:
        rows = reader.of_workflows(replace(chosen, workflow_ids=None))
        workflow = col(Execution.workflow_id)
        theirs = workflows.those_of(reader.caller, chosen.workflow_ids).subquery()
        return [order.candidates_of_each(rows, theirs, workflow, window)]
    if chosen.statuses is not None and len(chosen.statuses) > 1:
        rows = reader.chosen(replace(chosen, statuses=None))
        statuses, status = keyset.values(chosen.statuses, String()), col(Execution.status)
        return [order.candidates_of_each(rows, statuses, status, window)]
    if chosen.search is not None:
        return _found(reader, chosen, chosen.search, order, window)
    return None


def _found(
    reader: _Reader, chosen: ExecutionFilter, search: str, order: Order, window: Window[Key]
) -> Sequence[Rows]:
    rest, workflow = replace(chosen, search=None), col(Execution.workflow_id)
    named = workflows.named(reader.caller, search).cte("named")
    elsewhere = workflow.not_in(select(named.c.value))
    others = reader.chosen(rest).where(narrowing.has_text(search), elsewhere)
    return [
        order.candidates_of_each(reader.of_workflows(rest), named, workflow, window),
        order.candidates(others, window),
    ]
