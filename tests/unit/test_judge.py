"""Inputs held against schemas of whatever kind, while the loop stays free."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from app.errors import Issue
from app.judge import MAX_STEPS_HERE, MAX_STEPS_TO_TELL_HERE, PROCESSES, Judge, _weight
from tests.unit.schemas import BRANCHING, chain, doubled

SECONDS = 1.0
# What the loop may be held up on a busy machine; a held lock would show as SECONDS and more.
MAX_GAP_SECONDS = 0.5
SLOW = [(doubled(30), 1), (BRANCHING, chain(60))]
TREE = {"type": "object", "additionalProperties": {"$ref": "#"}}


@pytest_asyncio.fixture
async def judge() -> AsyncIterator[Judge]:
    judge = Judge(SECONDS)
    # The first question also starts a process.
    await judge.schema_issues("", {})
    yield judge
    await judge.close()


async def longest_gap(done: asyncio.Event) -> float:
    """How long the loop came to nothing else, at most."""
    longest, before = 0.0, time.perf_counter()
    while not done.is_set():
        await asyncio.sleep(0.005)
        longest, before = max(longest, time.perf_counter() - before), time.perf_counter()
    return longest


@pytest.mark.parametrize(("schema", "value"), SLOW)
async def test_a_check_that_takes_long_is_given_up_and_holds_nobody_up(
    judge: Judge, schema: Any, value: Any
) -> None:
    async def gap() -> float:
        done = asyncio.Event()
        watching = asyncio.create_task(longest_gap(done))
        began = time.perf_counter()
        issues = await judge.input_issues("/input", schema, value)
        took = time.perf_counter() - began
        done.set()

        assert issues == [Issue("/input", "takes longer than 1 s to check: simplify the inputSchema")]
        # A fast machine fills the memory that a process may have a little before its time is up.
        assert SECONDS / 2 < took < 10
        return await watching

    # A busy machine holds up the test itself at times.
    assert any([await gap() < MAX_GAP_SECONDS for _ in range(2)])


async def test_after_one_that_took_long_the_next_is_answered(judge: Judge) -> None:
    for _ in range(PROCESSES + 1):
        await judge.input_issues("/input", BRANCHING, chain(60))

    assert await judge.input_issues("/input", TREE, {"a": {"b": {}}}) == []
    assert await judge.input_issues("/input", TREE, {"a/b": {"c": 3}}) == [
        Issue("/input/a~1b/c", '3 is not of type "object"')
    ]


async def test_one_that_gives_up_waiting_leaves_no_answer_to_the_next(judge: Judge) -> None:
    asked = asyncio.create_task(judge.input_issues("/input", BRANCHING, chain(60)))
    await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)

    answers = await asyncio.gather(*[judge.input_issues("/input", TREE, {"a": n}) for n in range(10)])

    assert [issue.message for (issue,) in answers] == [f'{n} is not of type "object"' for n in range(10)]


async def test_a_process_that_was_killed_is_replaced(judge: Judge) -> None:
    process = judge._free.get_nowait()
    assert process is not None
    process.kill()
    await process.wait()
    judge._free.put_nowait(process)

    assert await judge.input_issues("/input", TREE, {"a": {}}) == []


async def test_an_ordinary_check_takes_no_process_and_well_under_a_millisecond() -> None:
    judge = Judge(SECONDS)
    schema = {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "string"}, "items": {"type": "array", "items": {"type": "integer"}}},
    }
    value = {"id": "a", "items": list(range(100))}
    await judge.input_issues("/input", schema, value)

    began = time.process_time()
    for _ in range(200):
        assert await judge.input_issues("/input", schema, value) == []
    took = time.process_time() - began

    assert took / 200 < 0.001
    assert [judge._free.get_nowait() for _ in range(PROCESSES)] == [None] * PROCESSES


async def test_no_schema_accepts_anything(judge: Judge) -> None:
    assert await judge.input_issues("/input", None, {"any": "thing"}) == []


async def test_a_schema_that_was_stored_unchecked_refuses_and_says_why(judge: Judge) -> None:
    unusable = "cannot be checked: the workflow's inputSchema is not usable; update the workflow"

    for schema in ({"type": "strin"}, {"$ref": "http://x"}, {"type": "strin", "items": {"$ref": "#"}}):
        assert await judge.input_issues("/input", schema, 1) == [Issue("/input", unusable)]


async def test_a_schema_that_unfolds_without_end_is_refused_beforehand(judge: Judge) -> None:
    (issue,) = await judge.schema_issues("/inputSchema", doubled(30))

    assert issue.path == "/inputSchema"
    assert "references that multiply" in issue.message


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        # The most violations that are listed here, and the most that is seen here.
        ({"items": {"allOf": [{"type": "string", "minLength": 3}] * 10}}, ["x"] * 250),
        ({"items": {"allOf": [{"type": "string", "minLength": 3}] * 150}}, ["xxx"] * 270),
    ],
)
async def test_the_heaviest_that_is_done_here_is_short(schema: Any, value: Any) -> None:
    judge = Judge(SECONDS)
    assert _weight(orjson.dumps(schema).decode()) * len(orjson.dumps(value)) < MAX_STEPS_HERE
    began = time.process_time()

    await judge.input_issues("/input", schema, value)

    assert time.process_time() - began < MAX_GAP_SECONDS
    assert judge._free.get_nowait() is None


async def test_every_violation_of_a_long_form_is_told(judge: Judge) -> None:
    field = {"type": "string", "title": "A field", "description": "What the customer has written. " * 20}
    form = {"type": "object", "properties": {f"field {number}": field for number in range(30)}}
    value = {name: [0] * 50 for name in form["properties"]}
    assert _weight(orjson.dumps(form).decode()) * len(orjson.dumps(value)) > MAX_STEPS_TO_TELL_HERE

    issues = await judge.input_issues("/input", form, value)

    assert [issue.path for issue in issues] == [f"/input/field {number}" for number in range(30)]
    assert {issue.message.rpartition("]")[2] for issue in issues} == {' is not of type "string"'}


def test_what_is_for_people_weighs_nothing() -> None:
    plain, told = {"type": "string"}, {"type": "string", "description": "d" * 9_000, "examples": ["x"] * 900}

    assert _weight(orjson.dumps(told).decode()) == _weight(orjson.dumps(plain).decode())


async def test_of_a_great_many_violations_the_first_is_told(judge: Judge) -> None:
    issues = await judge.input_issues("/input", {"items": {"type": "integer"}}, ["x"] * 200_000)

    assert issues == [Issue("/input/0", '"x" is not of type "integer"')]
