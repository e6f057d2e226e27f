"""Workflows are found by those who may see them, page by page."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import IntegrityConstraintViolationError

from app.auth import Caller
from app.db import Connection, Transaction
from app.errors import Forbidden, NotFound
from app.listings import OrderDirection, WorkflowListing, WorkflowOrderField
from app.paging import Page, Window
from app.records import Startable, WorkflowRecord
from app.rendering import Fieldset
from app.store import workflows
from tests.store.ownership import doors, without_caller
from tests.store.rows import ALICE, BOB, NOW, ROOT, Rows, json_of

SCHEMA = {"type": "object", "required": ["order"]}

REFUSAL = "This workflow belongs to another user; only they or an admin may have it."
EVERYTHING = WorkflowListing(archived=True)
DOORS = doors(workflows, writers=frozenset({"create", "change"}))

Ask = Callable[[Connection, Caller, UUID], Awaitable[Any]]


async def rendered(connection: Connection, who: Caller, id: UUID) -> dict[UUID, Any]:
    found = await workflows.render(connection, who, [id], Fieldset("Workflow", (("name", "name"),)))
    return {id: json_of(each) for id, each in found.items()}


# What each door shows of one workflow of alice's: to her, and to a stranger.
SHOWN: dict[str, tuple[Ask, Any, Any]] = {
    "get": (workflows.get, "record", REFUSAL),
    "get_startable": (workflows.get_startable, ("record", SCHEMA), REFUSAL),
    "lock": (lambda c, who, key: workflows.lock(Transaction(c), who, key), "record", REFUSAL),
    "by_ids": (lambda c, who, key: workflows.by_ids(c, who, [key]), {"id": "record"}, {}),
    "render": (rendered, {"id": {"name": "Order"}}, {}),
    "page": (lambda c, who, _: workflows.page(c, who, EVERYTHING, Window()), ["record"], []),
    "count": (lambda c, who, _: workflows.count(c, who, EVERYTHING), 1, 0),
    "input_schemas": (lambda c, who, key: workflows.input_schemas(c, who, [key]), {"id": SCHEMA}, {}),
}


def plain(answer: Any, record: WorkflowRecord) -> Any:
    """The answer with the one workflow named, so that it can be written down beforehand."""
    match answer:
        case Page():
            return ["record" if item == record else item for item in answer.items]
        case Startable(workflow, schema, _):
            return (plain(workflow, record), schema)
        case dict():
            return {"id" if key == record.id else key: plain(value, record) for key, value in answer.items()}
        case _:
            return "record" if answer == record else answer


def test_every_door_asks_whose_call_it_is_and_has_a_row_here() -> None:
    assert without_caller(DOORS) == []
    assert set(SHOWN) == set(DOORS)


async def test_every_door_shows_a_workflow_to_its_owner_and_to_an_admin_alone(rows: Rows) -> None:
    workflow = await rows.workflow(input_schema=SCHEMA)

    async def answers(who: Caller) -> dict[str, Any]:
        async with rows.db.write() as tx:
            return {
                door: await answer(ask(tx.connection, who, workflow.id), workflow)
                for door, (ask, *_) in SHOWN.items()
            }

    assert await answers(ALICE) == {door: shown for door, (_, shown, _) in SHOWN.items()}
    assert await answers(ROOT) == {door: shown for door, (_, shown, _) in SHOWN.items()}
    assert await answers(BOB) == {door: withheld for door, (*_, withheld) in SHOWN.items()}


async def answer(asked: Awaitable[Any], record: WorkflowRecord) -> Any:
    """What a door answers, or the refusal."""
    try:
        return plain(await asked, record)
    except Forbidden as refusal:
        return refusal.message if refusal.required_scope is None else refusal


async def test_a_missing_workflow_is_not_found(rows: Rows) -> None:
    id = uuid4()

    async with rows.db.read() as connection:
        with pytest.raises(NotFound) as caught:
            await workflows.get(connection, ALICE, id)
        assert await workflows.by_ids(connection, ALICE, [id]) == {}
        assert await workflows.input_schemas(connection, ALICE, [id]) == {}

    assert caught.value.id == str(id)


async def test_a_workflow_is_kept_as_it_was_given(rows: Rows) -> None:
    created = await rows.workflow(description="für alle", execution_timeout=60, input_schema=SCHEMA)

    assert created == WorkflowRecord(
        id=created.id,
        owner_id="alice",
        name="Order",
        description="für alle",
        workflow_type="OrderWorkflow",
        task_queue="orders",
        execution_timeout=60,
        created_at=NOW,
        updated_at=NOW,
        archived_at=None,
    )


async def test_a_timeout_of_nothing_is_refused_by_the_table(rows: Rows) -> None:
    with pytest.raises(IntegrityConstraintViolationError, match="ck_workflow_execution_timeout_positive"):
        await rows.workflow(execution_timeout=0)


async def test_what_is_not_changed_stays(rows: Rows) -> None:
    before = await rows.workflow(description="für alle", input_schema=SCHEMA)

    async with rows.db.write() as tx:
        locked = await workflows.lock(tx, ALICE, before.id)
        after = await workflows.change(tx, locked, {"description": None})

    assert after == before._replace(description=None)
    async with rows.db.read() as connection:
        assert await workflows.input_schemas(connection, ALICE, [before.id]) == {before.id: SCHEMA}


async def test_an_absent_schema_and_a_null_one_are_the_same(rows: Rows) -> None:
    absent, null = await rows.workflow(), await rows.workflow(input_schema=None)

    async with rows.db.read() as connection:
        found = await workflows.input_schemas(connection, ALICE, [absent.id, null.id])

    assert found == {absent.id: None, null.id: None}


async def test_pages_show_everything_once_the_newest_first(rows: Rows) -> None:
    for number in range(7):
        await rows.workflow(created_at=NOW + timedelta(microseconds=number // 3))
    await rows.workflow("bob")

    found: list[Page[WorkflowRecord]] = []
    after, listing = None, WorkflowListing()
    async with rows.db.read() as connection:
        while not found or found[-1].has_next:
            found.append(await workflows.page(connection, ALICE, listing, Window(3, after)))
            after = listing.key(found[-1].items[-1])

    seen = [item for page in found for item in page.items]
    assert [len(page.items) for page in found] == [3, 3, 1]
    assert [(page.has_previous, page.has_next) for page in found] == [
        (False, True),
        (True, True),
        (True, False),
    ]
    assert len({item.id for item in seen}) == 7
    assert seen == sorted(seen, key=lambda item: (item.created_at, item.id.int), reverse=True)


async def test_archived_workflows_are_listed_when_asked_for(rows: Rows) -> None:
    live = await rows.workflow()
    archived = await rows.workflow(archived_at=NOW)

    async with rows.db.read() as connection:
        listed, everything = [
            await workflows.page(connection, ALICE, each, Window())
            for each in (WorkflowListing(), EVERYTHING)
        ]
        counts = [await workflows.count(connection, ALICE, each) for each in (WorkflowListing(), EVERYTHING)]
        found = await workflows.get(connection, ALICE, archived.id)

    assert [item.id for item in listed.items] == [live.id]
    assert {item.id for item in everything.items} == {live.id, archived.id}
    assert counts == [1, 2]
    assert found.archived_at == NOW


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("direction", OrderDirection)
async def test_pages_lead_through_the_names_in_either_direction(
    rows: Rows, direction: OrderDirection, *, backward: bool
) -> None:
    for name in ("b", "a", "c", "a", "ab", "b", "a"):
        await rows.workflow(name=name)
    listing = WorkflowListing(field=WorkflowOrderField.NAME, direction=direction)

    seen: list[WorkflowRecord] = []
    async with rows.db.read() as connection:
        while True:
            end = listing.key(seen[0 if backward else -1]) if seen else None
            window = Window(2, before=end, backward=True) if backward else Window(2, after=end)
            page = await workflows.page(connection, ALICE, listing, window)
            seen = [*page.items, *seen] if backward else [*seen, *page.items]
            if not (page.has_previous if backward else page.has_next):
                break

    descending = direction is OrderDirection.DESC
    assert seen == sorted(seen, key=lambda each: (each.name, each.id.int), reverse=descending)
    assert len({each.id for each in seen}) == 7


async def test_a_search_finds_a_part_of_the_name_in_either_case(rows: Rows) -> None:
    order, hundred = await rows.workflow(name="Order of 1_0"), await rows.workflow(name="100%")
    await rows.workflow("bob", name="Order")

    async def found(search: str) -> set[UUID]:
        listing = WorkflowListing(search)
        async with rows.db.read() as connection:
            page = await workflows.page(connection, ALICE, listing, Window())
            assert await workflows.count(connection, ALICE, listing) == len(page.items)
        return {record.id for record in page.items}

    assert await found("ORDER") == {order.id}
    assert await found("10") == {hundred.id}
    assert await found("1_0") == {order.id}
    assert await found("0%") == {hundred.id}
    assert await found("%") == {hundred.id}
    assert await found("x") == set()
