"""Whatever the order, direction, filter and size: the pages are the list, and new rows change nothing."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from app.auth import Caller
from app.filters import ExecutionFilter, Period
from app.listings import ExecutionListing, ExecutionOrderField, OrderDirection
from app.paging import Page, Paging, window
from app.records import ExecutionRecord
from app.store import executions
from app.tables import Execution, ExecutionStatus
from tests.store.rows import NOW, Rows, caller

# One database serves all examples: each has an owner of its own.
shared = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Few different instants: most rows share theirs with others.
MOMENTS = st.integers(0, 3).map(lambda minutes: NOW + timedelta(minutes=minutes))
DRAWN = st.fixed_dictionaries(
    {
        "created_at": MOMENTS,
        "started_at": st.none() | MOMENTS,
        "completed_at": st.none() | MOMENTS,
        "updated_at": MOMENTS,
        "status": st.sampled_from(list(ExecutionStatus)),
        "labels": st.dictionaries(st.sampled_from(["env", "team"]), st.sampled_from(["prod", "test"])),
        "workflow": st.integers(0, 2),
    }
)
PERIODS = st.builds(Period, st.none() | MOMENTS, st.none() | MOMENTS)
LABELS = st.frozensets(st.sampled_from([("env", "prod"), ("team", "test")]))
SEARCHES = st.none() | st.sampled_from(["prod", "TEAM", "workflow 1", "te", "nothing"])

Drawn = list[dict[str, Any]]


@st.composite
def listings(draw: st.DrawFn) -> Callable[[list[UUID]], ExecutionListing]:
    """A list of any kind, once it is known which workflows there are."""
    places = draw(st.none() | st.frozensets(st.integers(0, 2)))
    statuses = draw(st.none() | st.frozensets(st.sampled_from(list(ExecutionStatus))))
    rest = draw(st.tuples(PERIODS, PERIODS, LABELS, SEARCHES))
    order = draw(st.sampled_from(ExecutionOrderField)), draw(st.sampled_from(OrderDirection))

    def listing(ids: list[UUID]) -> ExecutionListing:
        workflow_ids = None if places is None else frozenset(ids[place] for place in places)
        return ExecutionListing(ExecutionFilter(workflow_ids, statuses, *rest), *order)

    return listing


class World:
    """The executions of one new owner."""

    def __init__(self, rows: Rows) -> None:
        self._db = rows.db
        self._rows = rows
        self.who: Caller = caller(f"owner {uuid4()}")
        self.workflow_ids: list[UUID] = []

    async def begin(self, drawn: Drawn) -> None:
        """Workflows and executions."""
        for place in range(3):
            workflow = await self._rows.workflow(self.who.owner, name=f"Workflow {place}")
            self.workflow_ids.append(workflow.id)
        await self.add(drawn)

    async def add(self, drawn: Drawn) -> None:
        """More executions."""
        values = [
            {
                **{key: value for key, value in each.items() if key != "workflow"},
                "workflow_id": self.workflow_ids[each["workflow"]],
                "owner_id": self.who.owner,
                "version": 1,
                "started_by": self.who.owner,
                "temporal_workflow_id": str(uuid4()),
            }
            for each in drawn
        ]
        if values:
            async with self._db.write() as tx:
                await tx.connection.execute(insert(Execution), values)

    async def page(self, listing: ExecutionListing, asked: Paging) -> Page[ExecutionRecord]:
        async with self._db.read() as connection:
            wanted = window(asked, listing.binding.key)
            return await executions.page(connection, self.who, listing, wanted)

    async def everything(self, listing: ExecutionListing) -> list[ExecutionRecord]:
        """The list as Python narrows and orders it."""
        names = {id: f"Workflow {place}" for place, id in enumerate(self.workflow_ids)}
        page = await self.page(ExecutionListing(), Paging(100))
        assert not page.has_next
        found = [each for each in page.items if listing.chosen.matches(each, names[each.workflow_id])]
        never = datetime.max.replace(tzinfo=UTC)
        descending = listing.direction is OrderDirection.DESC
        return sorted(
            found, key=lambda each: (listing.key(each).value or never, each.id.int), reverse=descending
        )


async def pages(
    world: World,
    listing: ExecutionListing,
    size: int,
    meanwhile: Callable[[], Awaitable[None]],
    *,
    backward: bool,
) -> list[Page[ExecutionRecord]]:
    """All pages by their cursors, from the front or from the back, in the list's order."""
    found: list[Page[ExecutionRecord]] = []
    asked = Paging(last=size) if backward else Paging(first=size)
    while True:
        page = await world.page(listing, asked)
        found = [page, *found] if backward else [*found, page]
        if not (page.has_previous if backward else page.has_next):
            return found
        end = listing.binding.cursor(listing.key(page.items[0 if backward else -1]))
        asked = Paging(last=size, before=end) if backward else Paging(first=size, after=end)
        await meanwhile()


async def nothing() -> None:
    """What happens between two pages, usually."""


@given(drawn=st.lists(DRAWN, max_size=15), listing=listings(), size=st.integers(1, 6), backward=st.booleans())
@shared
async def test_the_pages_are_the_list(
    rows: Rows, drawn: Drawn, listing: Callable[[list[UUID]], ExecutionListing], size: int, *, backward: bool
) -> None:
    world = World(rows)
    await world.begin(drawn)
    asked_for = listing(world.workflow_ids)
    expected = await world.everything(asked_for)

    found = await pages(world, asked_for, size, nothing, backward=backward)
    numbered = [await world.page(asked_for, Paging(size, page=number)) for number in range(1, len(found) + 1)]

    assert [item for page in found for item in page.items] == expected
    assert [item for page in numbered for item in page.items] == expected
    assert [page.has_next for page in numbered] == [True] * (len(found) - 1) + [False]
    assert [page.has_previous for page in found] == [False] + [True] * (len(found) - 1)
    assert [page.has_next for page in found] == [True] * (len(found) - 1) + [False]
    assert all(len(page.items) == size for page in (found[1:] if backward else found[:-1]))
    async with rows.db.read() as connection:
        assert await executions.count(connection, world.who, asked_for.chosen) == len(expected)


@given(
    drawn=st.lists(DRAWN, min_size=3, max_size=12),
    added=st.lists(DRAWN, min_size=1, max_size=3),
    listing=listings(),
    backward=st.booleans(),
)
@shared
async def test_rows_that_come_in_between_move_none_that_was_there(
    rows: Rows,
    drawn: Drawn,
    added: Drawn,
    listing: Callable[[list[UUID]], ExecutionListing],
    *,
    backward: bool,
) -> None:
    world = World(rows)
    await world.begin(drawn)
    asked_for = listing(world.workflow_ids)
    there = await world.everything(asked_for)

    found = await pages(world, asked_for, 2, lambda: world.add(added), backward=backward)

    told = [item for page in found for item in page.items]
    assert [item for item in told if item in there] == there
    assert len({item.id for item in told}) == len(told)


@given(drawn=st.lists(DRAWN, max_size=12), listing=listings(), size=st.integers(1, 4), backward=st.booleans())
@shared
async def test_each_workflow_has_its_own_part_of_the_list(
    rows: Rows, drawn: Drawn, listing: Callable[[list[UUID]], ExecutionListing], size: int, *, backward: bool
) -> None:
    world = World(rows)
    await world.begin(drawn)
    asked_for, ids = listing(world.workflow_ids), world.workflow_ids
    asked = Paging(last=size) if backward else Paging(size)

    async with rows.db.read() as connection:
        wanted = window(asked, asked_for.binding.key)
        found = await executions.pages(connection, world.who, ids, asked_for, wanted)
        counts = await executions.counts_by_workflow(connection, world.who, ids, asked_for.chosen)

    alone = {id: await world.page(asked_for.of_workflow(id), asked) for id in ids}
    assert found == alone
    assert counts == {id: len(await world.everything(asked_for.of_workflow(id))) for id in ids}
