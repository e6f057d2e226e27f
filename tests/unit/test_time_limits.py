"""A time limit that is shared does to each what a timeout of its own would."""

import asyncio

import pytest

from app.time_limits import TimeLimit

SOON, NEVER = 0.05, 3_600.0


async def test_what_takes_too_long_is_ended() -> None:
    limit = TimeLimit(SOON)
    with pytest.raises(TimeoutError), limit.applied() as applied:
        await asyncio.sleep(NEVER)

    assert applied.expired
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_ends_in_time_is_let_be() -> None:
    limit = TimeLimit(SOON)
    with limit.applied() as applied:
        await asyncio.sleep(0)
    await asyncio.sleep(2 * SOON)

    assert not applied.expired


async def test_each_has_its_own_time() -> None:
    limit, loop = TimeLimit(SOON), asyncio.get_running_loop()

    async def endure(delay: float) -> float:
        await asyncio.sleep(delay)
        began = loop.time()
        with pytest.raises(TimeoutError), limit.applied():
            await asyncio.sleep(NEVER)
        return loop.time() - began

    async def pass_by() -> None:
        with limit.applied():
            await asyncio.sleep(SOON / 5)

    async with asyncio.TaskGroup() as group:
        taken = [group.create_task(endure(number * SOON / 4)) for number in range(12)]
        for _ in range(12):
            group.create_task(pass_by())

    assert min(task.result() for task in taken) >= SOON * 0.99


async def test_a_time_that_begins_after_a_while_without_any() -> None:
    limit = TimeLimit(SOON)
    for _ in range(3):
        with pytest.raises(TimeoutError), limit.applied():
            await asyncio.sleep(NEVER)
        await asyncio.sleep(2 * SOON)


@pytest.mark.parametrize("is_outer_first", [True, False])
async def test_of_two_limits_the_shorter_ends_it(is_outer_first: bool) -> None:
    outer, inner = TimeLimit(NEVER), TimeLimit(SOON)
    if is_outer_first:
        outer, inner = inner, outer

    with pytest.raises(TimeoutError), outer.applied() as around, inner.applied() as within:
        await asyncio.sleep(NEVER)

    assert (around.expired, within.expired) == (is_outer_first, not is_outer_first)


async def test_a_timeout_around_it_is_its_own() -> None:
    async def endure() -> None:
        async with asyncio.timeout(SOON):
            with applied:
                await asyncio.sleep(NEVER)

    applied = TimeLimit(NEVER).applied()
    with pytest.raises(TimeoutError):
        await endure()

    assert not applied.expired


async def test_a_cancellation_stays_one() -> None:
    limit = TimeLimit(NEVER)

    async def endure() -> None:
        with limit.applied():
            await asyncio.sleep(NEVER)

    task = asyncio.create_task(endure())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_same_time_stays_one() -> None:
    limit = TimeLimit(SOON)

    async def endure() -> None:
        with limit.applied() as applied:
            try:
                await asyncio.sleep(NEVER)
            finally:
                assert applied.expired
                task.cancel()

    task = asyncio.create_task(endure())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_that_the_end_makes_of_itself_is_told() -> None:
    async def endure() -> None:
        with TimeLimit(SOON).applied():
            try:
                await asyncio.sleep(NEVER)
            except asyncio.CancelledError:
                raise LookupError from None

    with pytest.raises(LookupError):
        await endure()


async def test_nothing_is_kept_of_what_has_ended() -> None:
    limit = TimeLimit(NEVER)
    with limit.applied():
        assert len(limit.due) == 1

    assert limit.due == {}
