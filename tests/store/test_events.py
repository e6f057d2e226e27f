"""The event log: dense, in commit order, and final where an execution is."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update
from sqlmodel import col

from app.deliveries import Delivery
from app.errors import CursorExpired
from app.filters import ExecutionEventFilter
from app.paging import Window
from app.records import ExecutionRecord
from app.store import events, executions, tracking
from app.store.events import Bounds
from app.store.membership import one_of
from app.tables import EventType, ExecutionEvent, ExecutionStatus
from tests.eventually import eventually
from tests.store.rows import ALICE, COMPLETED, FAILED, NOW, ROOT, STARTED, Rows, draft
from tests.store.statements import recorded, waiting

PENDING, RUNNING, PAUSED, ENDED, BROKEN, _ = ExecutionStatus
PAUSE = draft(EventType.EXECUTION_PAUSED, PAUSED)


async def test_versions_and_positions_are_dense(rows: Rows) -> None:
    first, second = await rows.pending(), await rows.pending()
    others = await rows.pending(await rows.workflow("bob"))

    await rows.append(first.id, STARTED, draft(), draft())
    await rows.append(second.id, STARTED)
    await rows.append(others.id, STARTED)
    await rows.append(first.id, COMPLETED)

    assert [(event.position, event.execution_id, event.version) for event in await rows.feed()] == [
        (1, first.id, 1),
        (2, second.id, 1),
        (3, first.id, 2),
        (4, first.id, 3),
        (5, first.id, 4),
        (6, second.id, 2),
        (7, first.id, 5),
    ]
    assert [(event.position, event.version) for event in await rows.feed("bob")] == [(1, 1), (2, 2)]
    assert (await rows.execution(first.id)).version == 5


async def test_each_event_carries_the_status_after_it(rows: Rows) -> None:
    execution = await rows.pending()

    await rows.append(execution.id, draft(), STARTED, draft(), PAUSE, draft(), COMPLETED)

    assert [event.status for event in await rows.feed()] == [
        PENDING,
        PENDING,
        RUNNING,
        RUNNING,
        PAUSED,
        PAUSED,
        ENDED,
    ]


async def test_an_event_is_kept_as_it_was_drafted(rows: Rows) -> None:
    execution = await rows.running()
    before = datetime.now(UTC)
    drafted = draft(EventType.ACTIVITY_FAILED, message="It broke")

    (delivery,) = await rows.append(execution.id, drafted)

    event = delivery.event
    assert (event.type, event.message, event.timestamp) == (EventType.ACTIVITY_FAILED, "It broke", NOW)
    assert (event.owner_id, event.actor, event.details) == ("alice", None, None)
    assert before <= event.recorded_at <= datetime.now(UTC)
    assert (await rows.feed())[-1] == event


async def test_the_changes_of_drafts_reach_the_execution_with_them(rows: Rows) -> None:
    execution = await rows.pending()

    async with rows.db.write() as tx:
        deliveries = await events.append(tx, execution, [STARTED, FAILED], temporal_run_id="run-1")

    changed = await rows.execution(execution.id)
    assert (changed.status, changed.version, changed.temporal_run_id) == (BROKEN, 3, "run-1")
    assert (changed.started_at, changed.completed_at) == (NOW, NOW)
    assert [delivery.execution for delivery in deliveries] == [changed, changed]


async def test_what_is_returned_is_announced_and_read_again(rows: Rows, announced: list[Delivery]) -> None:
    execution = await rows.pending()
    announced.clear()

    deliveries = await rows.append(execution.id, STARTED, draft())

    assert announced == deliveries
    async with rows.db.read() as connection:
        assert await events.after(connection, "alice", 1, 10) == deliveries


async def test_nothing_follows_the_last_event(rows: Rows, announced: list[Delivery]) -> None:
    execution = await rows.running()

    kept = await rows.append(execution.id, draft(), COMPLETED, draft(), FAILED)
    announced.clear()
    refused = await rows.append(execution.id, FAILED, draft())

    assert [delivery.event.type for delivery in kept] == [
        EventType.SIGNAL_RECEIVED,
        EventType.EXECUTION_COMPLETED,
    ]
    assert (refused, announced) == ([], [])
    assert [event.version for event in await rows.feed()] == [1, 2, 3, 4]
    assert (await rows.execution(execution.id)).status is ENDED


async def test_an_append_of_nothing_says_nothing(rows: Rows) -> None:
    execution = await rows.running()

    async with rows.db.write() as tx:
        with recorded(rows.db) as said:
            assert await events.append(tx, execution, [], temporal_run_id="ignored") == []

    assert said == []


async def test_of_two_ends_that_race_the_first_stays(rows: Rows) -> None:
    """The second writer holds the execution as it was before the first one's commit."""
    execution = await rows.running()

    async def fail() -> list[Delivery]:
        async with rows.db.write() as tx:
            return await events.append(tx, execution, [FAILED], output={"late": True})

    async with rows.db.write() as tx:
        await events.append(tx, execution, [COMPLETED])
        late = asyncio.create_task(fail())
        await eventually(lambda: waiting(rows.db))

    assert await late == []
    ended = await rows.execution(execution.id)
    assert (ended.status, ended.version) == (ENDED, 3)
    assert [event.type for event in await rows.feed()][2:] == [EventType.EXECUTION_COMPLETED]
    async with rows.db.read() as connection:
        assert await executions.payloads(connection, ALICE, [execution.id]) == {execution.id: (None, None)}


async def test_of_many_ends_that_race_one_is_recorded(rows: Rows) -> None:
    execution = await rows.running()

    ends = await asyncio.gather(*(rows.append(execution.id, end) for end in [COMPLETED, FAILED] * 10))

    assert sum(map(len, ends)) == 1
    assert [event.version for event in await rows.feed()] == [1, 2, 3]


async def test_nothing_is_appended_to_a_stale_copy_of_an_open_execution(
    rows: Rows, announced: list[Delivery]
) -> None:
    execution = await rows.running()
    await rows.append(execution.id, draft())
    announced.clear()

    async with rows.db.write() as tx:
        assert await events.append(tx, execution, [draft()], output={"late": True}) == []

    assert announced == []
    assert [event.version for event in await rows.feed()] == [1, 2, 3]
    async with rows.db.read() as connection:
        assert await events.bounds(connection, "alice") == Bounds(0, 3)
        assert await executions.payloads(connection, ALICE, [execution.id]) == {execution.id: (None, None)}


async def test_an_append_is_one_statement_however_many_events_there_are(rows: Rows) -> None:
    execution = await rows.pending()

    async with rows.db.write() as tx:
        with recorded(rows.db) as said:
            await events.append(tx, execution, [STARTED, *[draft()] * 20])

    assert [statement.target for statement in said] == ["UPDATE execution"]


async def test_the_feed_is_not_locked_before_the_execution(rows: Rows) -> None:
    """What waits for the feed holds the execution, and no tally yet: see test_tallies."""
    execution, other = await rows.running(), await rows.running()

    async with rows.db.write() as tx:
        await executions.lock(tx, ALICE, execution.id)
        late = asyncio.create_task(rows.append(execution.id, draft()))
        await eventually(lambda: waiting(rows.db))
        assert len(await rows.append(other.id, draft())) == 1

    assert len(await late) == 1


async def test_a_rerun_waits_for_neither_lock_of_the_original(rows: Rows) -> None:
    """It holds the feed when it refers to the original, and who holds the original waits for the feed."""
    first, second = await rows.pending(), await rows.pending()

    async with rows.db.write() as tx:
        locked = await executions.lock(tx, ALICE, first.id)
        tracked = await tracking.lock(tx, second.id)
        for original in (first, second):
            await rows.pending(rerun_of=original.id)
        for each in (locked, tracked.execution):
            assert len(await events.append(tx, each, [STARTED])) == 1


async def test_a_rerun_does_not_wait_for_a_tracker_that_takes_the_original(rows: Rows) -> None:
    original = await rows.running()
    now = timedelta(0)

    async with rows.db.write() as tx:
        (claimed,) = await tracking.claim(tx, uuid4(), [], [], 1)
        (confirmed,) = await tracking.claim_unconfirmed(tx, now, 1)
        await rows.pending(rerun_of=original.id)

    assert original.id == claimed.run.execution_id == confirmed.run.execution_id


async def test_what_is_left_of_a_start_is_taken_once_in_a_while_by_the_clock_of_postgres(rows: Rows) -> None:
    left = await rows.pending()

    async with rows.db.write() as tx:
        first = await tracking.claim_unsettled(tx, timedelta(0), 5)
    async with rows.db.write() as tx:
        second = await tracking.claim_unsettled(tx, timedelta(minutes=1), 5)

    assert (first, second) == ([left.id], [])


async def test_a_sweep_never_comes_farther_than_the_present(rows: Rows) -> None:
    """One end that a fast clock has stamped must not hide those that come after it."""
    tracker, hold = uuid4(), timedelta(minutes=1)
    ahead = datetime.now(UTC) + timedelta(days=1)

    async with rows.db.write() as tx:
        began = await tracking.hold_sweep(tx, "closed", tracker, hold)
    async with rows.db.write() as tx:
        await tracking.move_watermark(tx, "closed", tracker, ahead)
    async with rows.db.write() as tx:
        reached = await tracking.hold_sweep(tx, "closed", tracker, hold)

    assert began is not None
    assert reached is not None
    assert began < reached < ahead - hold


async def test_a_transaction_that_has_appended_nothing_yet_holds_up_no_other(rows: Rows) -> None:
    early, late = await rows.pending(), await rows.pending()

    async with rows.db.write() as tx:
        locked = await executions.lock(tx, ALICE, early.id)
        await rows.append(late.id, STARTED)
        await events.append(tx, locked, [STARTED])

    assert [event.execution_id for event in await rows.feed(after=2)] == [late.id, early.id]


async def test_a_position_is_given_only_once_the_one_before_it_is_committed(rows: Rows) -> None:
    first, second = await rows.pending(), await rows.pending()

    async with rows.db.write() as tx:
        (delivery,) = await events.append(tx, first, [STARTED])
        next_one = asyncio.create_task(rows.append(second.id, STARTED))
        await eventually(lambda: waiting(rows.db))
        assert [event.position for event in await rows.feed()] == [1, 2]

    assert delivery.event.position == 3
    assert [delivery.event.position for delivery in await next_one] == [4]


async def test_a_rollback_leaves_no_hole(rows: Rows, announced: list[Delivery]) -> None:
    execution = await rows.pending()
    announced.clear()

    async def fail() -> None:
        async with rows.db.write() as tx:
            await events.append(tx, execution, [STARTED, COMPLETED])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert announced == []
    assert await rows.execution(execution.id) == execution
    (delivery,) = await rows.append(execution.id, STARTED)
    assert (delivery.event.position, delivery.event.version) == (2, 2)


async def test_many_writers_leave_a_dense_feed_in_the_order_of_their_commits(rows: Rows) -> None:
    workflow = await rows.workflow()
    ids = [(await rows.running(workflow)).id for _ in range(6)]
    held: list[list[int]] = []

    async def write(seed: int) -> None:
        choose = Random(seed)
        for _ in range(6):
            await rows.append(choose.choice(ids), *[draft()] * choose.randint(1, 3))

    async def look(writers: asyncio.Future[Any]) -> None:
        """Whatever is visible at any time has no hole: nobody reads past a position that is still to come."""
        while not writers.done():
            held.append([event.position for event in await rows.feed()])

    writers = asyncio.gather(*map(write, range(20)))
    await asyncio.gather(writers, look(writers))

    feed = await rows.feed()
    assert [event.position for event in feed] == list(range(1, len(feed) + 1))
    assert [positions for positions in held if positions != list(range(1, len(positions) + 1))] == []
    assert len({len(positions) for positions in held}) > 2, "the reader did not run beside the writers"
    for id in ids:
        versions = [event.version for event in feed if event.execution_id == id]
        assert versions == list(range(1, len(versions) + 1))
        assert (await rows.execution(id)).version == len(versions)


async def test_events_are_read_behind_a_position(rows: Rows) -> None:
    first, second = await rows.pending(), await rows.pending()
    await rows.append(first.id, STARTED, draft(), draft())
    await rows.append(second.id, STARTED)
    await rows.pending(await rows.workflow("bob"))

    async def positions(position: int, limit: int, execution: ExecutionRecord | None = None) -> list[int]:
        id: UUID | None = None if execution is None else execution.id
        async with rows.db.read() as connection:
            found = await events.after(connection, "alice", position, limit, id)
        return [delivery.event.position for delivery in found]

    assert await positions(0, 10) == [1, 2, 3, 4, 5, 6]
    assert await positions(2, 2) == [3, 4]
    assert await positions(6, 10) == []
    assert await positions(1, 10, first) == [3, 4, 5]
    assert await positions(1, 2, first) == [3, 4]
    assert await positions(0, 10, second) == [2, 6]


async def test_events_come_with_the_execution_as_it_is_now(rows: Rows) -> None:
    execution = await rows.pending()
    await rows.append(execution.id, STARTED, COMPLETED)
    ended = await rows.execution(execution.id)

    async with rows.db.read() as connection:
        found = await events.after(connection, "alice", 0, 10)

    assert [delivery.execution for delivery in found] == [ended] * 3


async def test_a_feed_tells_what_it_holds(rows: Rows) -> None:
    await rows.pending()
    await rows.running()
    await rows.pending(await rows.workflow("bob"))

    async with rows.db.read() as connection:
        assert await events.bounds(connection, "alice") == Bounds(0, 3)
        assert await events.bounds(connection, "nobody") == Bounds(0, 0)
        assert await events.heads(connection, ["alice", "bob", "nobody"]) == {"alice": 3, "bob": 1}
        assert await events.heads(connection, []) == {}


async def test_histories_are_paged_in_both_directions(rows: Rows) -> None:
    execution, other, bobs = (
        await rows.pending(),
        await rows.pending(),
        await rows.pending(await rows.workflow("bob")),
    )
    await rows.append(execution.id, STARTED, draft())
    await rows.append(other.id, STARTED)
    await rows.append(execution.id, COMPLETED)
    ids = [execution.id, other.id, bobs.id]

    async def versions(window: Window[int], *types: EventType) -> list[tuple[list[int], bool, bool]]:
        async with rows.db.read() as connection:
            pages = await events.histories(connection, ALICE, ids, window, frozenset(types) or None)
        return [
            ([event.version for event in pages[id].items], pages[id].has_previous, pages[id].has_next)
            for id in ids
        ]

    none = (list[int](), False, False)
    assert await versions(Window(2)) == [([1, 2], False, True), ([1, 2], False, False), none]
    assert await versions(Window(2, backward=True)) == [([3, 4], True, False), ([1, 2], False, False), none]
    assert (await versions(Window(2, after=3)))[0] == ([3, 4], True, False)
    assert (await versions(Window(2, before=6, backward=True)))[0] == ([2, 3], True, True)
    assert (await versions(Window(2, after=1, before=6)))[0] == ([2, 3], True, True)
    assert (await versions(Window(2, after=6)))[0] == ([], True, False)
    assert await versions(Window(2), EventType.EXECUTION_STARTED) == [([2], False, False)] * 2 + [none]


async def test_events_are_counted_by_type(rows: Rows) -> None:
    execution, bobs = await rows.running(), await rows.pending(await rows.workflow("bob"))
    started = frozenset({EventType.EXECUTION_STARTED})
    ids = [execution.id, bobs.id]

    async with rows.db.read() as connection:
        assert await events.counts(connection, ALICE, ids, None) == {execution.id: 2, bobs.id: 0}
        assert await events.counts(connection, ALICE, ids, started) == {execution.id: 1, bobs.id: 0}
        assert await events.counts(connection, ROOT, ids, frozenset()) == {execution.id: 0, bobs.id: 0}
        assert await events.counts(connection, ROOT, ids, None) == {execution.id: 2, bobs.id: 1}
        assert await events.last_position(connection, execution.id) == 2


async def test_what_a_filter_selects_of_a_feed_in_sql_it_matches_in_memory(rows: Rows) -> None:
    labelled = await rows.pending(labels={"env": "prod", "team": "a"})
    other = await rows.running()
    await rows.append(labelled.id, STARTED, draft(), COMPLETED)
    filters = [
        ExecutionEventFilter(workflow_ids, statuses, types, frozenset(labels))
        for workflow_ids in (None, frozenset({other.workflow_id}), frozenset[UUID]())
        for statuses in (None, frozenset({PENDING, ENDED}), frozenset[ExecutionStatus]())
        for types in (None, frozenset({EventType.EXECUTION_CREATED}), frozenset[EventType]())
        for labels in ([], [("env", "prod")], [("env", "a")])
    ]

    async with rows.db.read() as connection:
        everything = await events.after(connection, "alice", 0, 100)
        found = [await events.after(connection, "alice", 0, 100, chosen=each) for each in filters]
        some = await events.after(connection, "alice", 1, 100, through=3)
        counts = [await events.count_in_feed(connection, "alice", each) for each in filters]

    matching = [
        [each for each in everything if chosen.matches(each.event, each.execution)] for chosen in filters
    ]
    assert found == matching
    assert counts == [len(deliveries) for deliveries in matching]
    assert len(set(counts)) > 3
    assert [delivery.event.position for delivery in some] == [2, 3]


async def test_an_event_is_found_by_the_version_it_made(rows: Rows) -> None:
    execution = await rows.running()

    async with rows.db.read() as connection:
        found = await events.get(connection, execution, 2)
        missing = await events.get(connection, execution, 3)

    assert found == (await rows.feed())[1]
    assert missing is None


async def age(rows: Rows, owner: str, positions: Collection[int], recorded_at: datetime) -> None:
    """Let some of an owner's events be recorded at another time."""
    async with rows.db.write() as tx:
        mine = (col(ExecutionEvent.owner_id) == owner) & one_of(col(ExecutionEvent.position), positions)
        await tx.connection.execute(update(ExecutionEvent).where(mine).values(recorded_at=recorded_at))


async def test_old_events_are_pruned_from_the_front_and_a_bounded_number(rows: Rows) -> None:
    execution = await rows.running()
    await rows.append(execution.id, *[draft()] * 4)
    await rows.running(await rows.workflow("bob"))
    before = datetime.now(UTC) - timedelta(days=1)
    await age(rows, "alice", range(6), before - timedelta(seconds=1))

    async with rows.db.read() as connection:
        assert await events.owners_with_events_before(connection, before, 10) == ["alice"]
    async with rows.db.write() as tx:
        pruned = [await events.prune(tx, "alice", before, 3) for _ in range(3)]

    assert pruned == [3, 2, 0]
    async with rows.db.read() as connection:
        assert await events.owners_with_events_before(connection, before, 10) == []
        assert await events.bounds(connection, "alice") == Bounds(5, 6)
        assert await events.counts(connection, ALICE, [execution.id], None) == {execution.id: 1}
    assert [event.position for event in await rows.feed("alice", after=5)] == [6]
    assert [event.position for event in await rows.feed("bob")] == [1, 2]
    (delivery,) = await rows.append(execution.id, draft())
    assert (delivery.event.position, delivery.event.version) == (7, 7)


async def test_what_is_behind_a_young_event_is_kept_with_it(rows: Rows) -> None:
    """A writer's clock may be behind; a feed has no holes all the same."""
    execution = await rows.running()
    await rows.append(execution.id, draft(), draft())
    before = datetime.now(UTC) - timedelta(days=1)
    await age(rows, "alice", (1, 2, 4), before - timedelta(seconds=1))

    async with rows.db.write() as tx:
        assert await events.prune(tx, "alice", before, 10) == 2

    assert [event.position for event in await rows.feed(after=2)] == [3, 4]


async def test_a_position_whose_followers_are_pruned_is_expired(rows: Rows) -> None:
    execution = await rows.running()
    await rows.append(execution.id, draft(), draft())
    before = datetime.now(UTC) - timedelta(days=1)
    await age(rows, "alice", range(3), before - timedelta(seconds=1))
    async with rows.db.write() as tx:
        await events.prune(tx, "alice", before, 10)

    for position in (0, 1):
        with pytest.raises(CursorExpired) as caught:
            await rows.feed(after=position)
        assert caught.value.head == 4

    assert [event.position for event in await rows.feed(after=2)] == [3, 4]
