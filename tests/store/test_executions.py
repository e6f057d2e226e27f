"""Executions are found by those who may see them, page by page."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.auth import Caller
from app.db import Connection, Transaction
from app.errors import Forbidden, NotFound
from app.filters import EVERY_EXECUTION, ExecutionFilter, Period
from app.listings import ExecutionListing, ExecutionOrderField
from app.paging import Key, Page, Window
from app.records import ExecutionRecord
from app.rendering import Fieldset
from app.store import events, executions
from app.tables import EventType, ExecutionStatus
from schema.scalars import serialize_datetime
from tests.eventually import eventually
from tests.store.ownership import doors, without_caller
from tests.store.rows import ALICE, BOB, COMPLETED, NOW, ROOT, STARTED, Rows, caller, draft, json_of, told
from tests.store.statements import waiting

PENDING, RUNNING, ENDED = ExecutionStatus.PENDING, ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED
NONE_OF_THEM = dict.fromkeys(ExecutionStatus, 0)
NEWEST, FIRST = ExecutionListing(), Window[Key]()
WORKFLOW = uuid4()

REFUSAL = "This execution belongs to another user; only they or an admin may have it."
DOORS = doors(executions, writers=frozenset())

Ask = Callable[[Connection, Caller, UUID], Awaitable[Any]]


# What each door shows of one execution of alice's: to her, and to a stranger.
async def told_payloads(connection: Connection, who: Caller, id: UUID) -> dict[UUID, Any]:
    found = await executions.payloads(connection, who, [id])
    return {id: told(each) for id, each in found.items()}


ID = Fieldset("Execution", (("id", "id"),))


async def rendered(asked: Awaitable[Any]) -> Any:
    """The ids in what was rendered."""
    match await asked:
        case Page(items=items):
            return [UUID(json_of(each)["id"]) for each in items]
        case found:
            return UUID(json_of(found)["id"])


SHOWN: dict[str, tuple[Ask, Any, Any]] = {
    "get": (executions.get, "record", REFUSAL),
    "lock": (lambda c, who, key: executions.lock(Transaction(c), who, key), "record", REFUSAL),
    "by_ids": (lambda c, who, key: executions.by_ids(c, who, [key]), {"id": "record"}, {}),
    "page": (lambda c, who, _: executions.page(c, who, NEWEST, FIRST), ["record"], []),
    "render": (lambda c, who, key: rendered(executions.render(c, who, key, ID)), "id", REFUSAL),
    "render_page": (
        lambda c, who, _: rendered(executions.render_page(c, who, NEWEST, FIRST, ID)),
        ["id"],
        [],
    ),
    "pages": (
        lambda c, who, _: executions.pages(c, who, [WORKFLOW], NEWEST, FIRST),
        {WORKFLOW: ["record"]},
        {WORKFLOW: []},
    ),
    "count": (lambda c, who, _: executions.count(c, who, EVERY_EXECUTION), 1, 0),
    "counts_by_workflow": (
        lambda c, who, _: executions.counts_by_workflow(c, who, [WORKFLOW], EVERY_EXECUTION),
        {WORKFLOW: 1},
        {WORKFLOW: 0},
    ),
    "payloads": (
        told_payloads,
        {"id": ({"secret": 1}, None)},
        {},
    ),
}


LABELS: list[list[tuple[str, str]]] = [
    [],
    [("env", "prod")],
    [("env", "prod"), ("Team", 'say "hi" \\ _')],
    [("env", "prod"), ("env", "test")],
    [("env", "PROD")],
    [("prod", "env")],
]
# Wildcards, quotes, and what is in the JSON of labels without being anybody's text.
SEARCHES = (
    *("Order", "oRDER", "100% {", "größe", "GRÖSSE", "%", "_", "\\", '"', '"hi"', "say _hi", "{", "}", "{}"),
    *(":", ",", ": ", '": "', "env", "pro", "eam", "temporal-graphql-", "prod env", "e", "zzz", "'", "\\_"),
)


def plain(answer: Any, record: ExecutionRecord) -> Any:
    """The answer with the one execution named, so that it can be written down beforehand."""
    match answer:
        case Page():
            return ["record" if item == record else item for item in answer.items]
        case list():
            return [plain(item, record) for item in answer]
        case dict():
            return {"id" if key == record.id else key: plain(value, record) for key, value in answer.items()}
        case UUID():
            return "id" if answer == record.id else answer
        case _:
            return "record" if answer == record else answer


def test_every_door_asks_whose_call_it_is_and_has_a_row_here() -> None:
    assert without_caller(DOORS) == []
    assert set(SHOWN) == set(DOORS)


async def test_every_door_shows_an_execution_to_its_owner_and_to_an_admin_alone(rows: Rows) -> None:
    execution = await rows.pending(await rows.workflow(id=WORKFLOW), input={"secret": 1})

    async def answers(who: Caller) -> dict[str, Any]:
        async with rows.db.write() as tx:
            return {
                door: await answer(ask(tx.connection, who, execution.id), execution)
                for door, (ask, *_) in SHOWN.items()
            }

    assert await answers(ALICE) == {door: shown for door, (_, shown, _) in SHOWN.items()}
    assert await answers(ROOT) == {door: shown for door, (_, shown, _) in SHOWN.items()}
    assert await answers(BOB) == {door: withheld for door, (*_, withheld) in SHOWN.items()}


async def answer(asked: Awaitable[Any], record: ExecutionRecord) -> Any:
    """What a door answers, or the refusal."""
    try:
        return plain(await asked, record)
    except Forbidden as refusal:
        return refusal.message if refusal.required_scope is None else refusal


async def test_an_owner_is_not_told_by_a_subject_or_a_part_of_a_name(rows: Rows) -> None:
    execution = await rows.pending()

    for stranger in ("alice2", "alic", "ALICE", "alice ", "%", "_____"):
        with pytest.raises(Forbidden):
            async with rows.db.read() as connection:
                await executions.get(connection, caller(stranger), execution.id)


async def test_a_missing_execution_is_not_found(rows: Rows) -> None:
    id = uuid4()

    async with rows.db.write() as tx:
        with pytest.raises(NotFound) as caught:
            await executions.get(tx.connection, ALICE, id)
        with pytest.raises(NotFound):
            await executions.lock(tx, ALICE, id)
        assert await executions.by_ids(tx.connection, ALICE, [id]) == {}
        assert await executions.payloads(tx.connection, ALICE, [id]) == {}

    assert caught.value.id == str(id)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 8, 12, 0, 0, 999_999, UTC),
        datetime(2026, 1, 8, 12, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999, UTC),
        datetime(987, 6, 5, 4, 3, 2, 1_000, UTC),
        datetime(9999, 12, 30, 23, 59, 59, 999_999, UTC),
    ],
)
async def test_a_moment_is_rendered_as_it_is_written_elsewhere(rows: Rows, moment: datetime) -> None:
    execution = await rows.pending(created_at=moment)
    fieldset = Fieldset("Execution", (("object", "created_at"), ("row", "started_at")))

    async with rows.db.read() as connection:
        found = await executions.render(connection, ALICE, execution.id, fieldset)

    assert json_of(found) == {"object": serialize_datetime(moment), "row": None}


async def test_a_new_execution_is_at_its_first_version(rows: Rows) -> None:
    workflow = await rows.workflow()
    values = {
        "id": uuid4(),
        "owner_id": "alice",
        "workflow_id": workflow.id,
        "status": PENDING,
        "started_by": "carol",
        "temporal_workflow_id": "w-1",
        "input": {"a": [1, None]},
        "created_at": NOW,
        "updated_at": NOW,
    }

    async with rows.db.write() as tx:
        delivery = await events.create(tx, values, draft(EventType.EXECUTION_CREATED))

    created = delivery.execution
    assert created == ExecutionRecord(
        id=created.id,
        owner_id="alice",
        workflow_id=workflow.id,
        status=PENDING,
        version=1,
        failure=None,
        labels={},
        rerun_of=None,
        started_by="carol",
        temporal_workflow_id="w-1",
        temporal_run_id=None,
        created_at=NOW,
        started_at=None,
        completed_at=None,
        updated_at=NOW,
    )
    async with rows.db.read() as connection:
        found = await executions.payloads(connection, ALICE, [created.id])
    assert {id: told(each) for id, each in found.items()} == {created.id: ({"a": [1, None]}, None)}


async def test_a_locked_execution_makes_others_wait(rows: Rows) -> None:
    execution = await rows.pending()

    async with rows.db.write() as tx:
        await executions.lock(tx, ALICE, execution.id)
        other = asyncio.create_task(rows.append(execution.id, STARTED))
        await eventually(lambda: waiting(rows.db))
        assert (await rows.execution(execution.id)).version == 1

    await eventually(other.done)
    assert [delivery.event.version for delivery in other.result()] == [2]


async def pages(rows: Rows, who: Caller, size: int) -> list[Page[ExecutionRecord]]:
    """All pages of a caller's list, one after the other."""
    found: list[Page[ExecutionRecord]] = []
    after = None
    while not found or found[-1].has_next:
        async with rows.db.read() as connection:
            found.append(await executions.page(connection, who, NEWEST, Window(size, after)))
        if found[-1].items:
            after = NEWEST.key(found[-1].items[-1])
    return found


async def test_pages_show_everything_once_the_newest_first(rows: Rows) -> None:
    workflow = await rows.workflow()
    # Several of the same instant, and instants a microsecond apart.
    for number in range(12):
        await rows.pending(workflow, created_at=NOW + timedelta(microseconds=number // 3))
    await rows.pending(await rows.workflow("bob"))

    found = await pages(rows, ALICE, 5)

    seen = [item for page in found for item in page.items]
    assert [len(page.items) for page in found] == [5, 5, 2]
    assert [(page.has_previous, page.has_next) for page in found] == [
        (False, True),
        (True, True),
        (True, False),
    ]
    assert len({item.id for item in seen}) == 12
    assert seen == sorted(seen, key=lambda item: (item.created_at, item.id.int), reverse=True)
    assert {item.owner_id for item in seen} == {"alice"}


async def test_a_page_of_exactly_what_is_there_is_the_last(rows: Rows) -> None:
    workflow = await rows.workflow()
    for _ in range(4):
        await rows.pending(workflow)

    assert [(len(page.items), page.has_next) for page in await pages(rows, ALICE, 2)] == [
        (2, True),
        (2, False),
    ]
    assert [(len(page.items), page.has_next) for page in await pages(rows, BOB, 2)] == [(0, False)]


async def test_an_admin_lists_everybodys(rows: Rows) -> None:
    mine, theirs = await rows.pending(), await rows.pending(await rows.workflow("bob"))

    (page,) = await pages(rows, ROOT, 10)

    assert {item.id for item in page.items} == {mine.id, theirs.id}


async def test_what_a_filter_selects_in_sql_it_matches_in_memory(rows: Rows) -> None:
    workflow, other = await rows.workflow(), await rows.workflow(name="100% {Größe}")
    names = {workflow.id: workflow.name, other.id: other.name}
    labels = {"env": "prod", "Team": 'say "hi" \\ _'}
    pending = await rows.pending(workflow, created_at=NOW - timedelta(hours=1), labels=labels)
    ended = await rows.running(other)
    await rows.append(ended.id, COMPLETED)
    records = [pending, await rows.execution(ended.id)]
    spans = [Period(), Period(start=NOW), Period(end=NOW), Period(NOW - timedelta(hours=1), NOW)]
    filters = [
        ExecutionFilter(workflow_ids, statuses, created, completed)
        for workflow_ids in (None, frozenset({workflow.id}), frozenset[UUID]())
        for statuses in (None, frozenset({ENDED}), frozenset[ExecutionStatus]())
        for created in spans
        for completed in spans
    ]
    filters += [ExecutionFilter(labels=frozenset(each)) for each in LABELS]
    filters += [ExecutionFilter(search=each) for each in (*SEARCHES, str(pending.id)[:8], str(ended.id))]

    async with rows.db.read() as connection:
        counted = [await executions.count(connection, ALICE, each) for each in filters]
        listed = [
            await executions.page(connection, ALICE, ExecutionListing(each, field), FIRST)
            for each in filters
            for field in ExecutionOrderField
        ]

    matching = [
        {record.id for record in records if each.matches(record, names[record.workflow_id])}
        for each in filters
    ]
    assert counted == [len(ids) for ids in matching]
    assert [{record.id for record in page.items} for page in listed] == [
        ids for ids in matching for _ in ExecutionOrderField
    ]
    assert {len(ids) for ids in matching} == {0, 1, 2}
