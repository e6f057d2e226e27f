"""Whatever passes the checks of `app.inputs` is kept by Postgres and read back as it was."""

import json
from decimal import Decimal
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from sqlalchemy import insert, select
from sqlmodel import col

from app import inputs
from app.db import Database
from app.tables import Workflow
from tests.store.rows import NOW
from tests.unit.values import ANY_JSON, ANY_TEXT

# One database serves all examples: each writes a row of its own.
shared = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest_asyncio.fixture
async def kept(db: Database) -> "Kept":
    return Kept(db)


class Kept:
    """Writes one workflow and reads it again."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of(self, **values: Any) -> Any:
        """What became of the one column given."""
        (name,) = values
        row = {"owner_id": "alice", "name": "x", "workflow_type": "x", "task_queue": "x"}
        written = insert(Workflow).values(created_at=NOW, updated_at=NOW, **{**row, **values})
        async with self._db.write() as tx:
            id = (await tx.connection.execute(written.returning(col(Workflow.id)))).scalar_one()
        query = select(getattr(Workflow, name)).where(col(Workflow.id) == id)
        async with self._db.read() as connection:
            return (await connection.execute(query)).scalar_one()


def meant(value: Any) -> Any:
    """The value as its JSON text reads: numbers by their digits, whether or not there is a point in them."""
    return json.loads(json.dumps(value, allow_nan=False), parse_float=Decimal, parse_int=Decimal)


@given(value=ANY_JSON)
@example(value=1.7976931348623157e308)
@example(value=5e-324)
@example(value=float("-inf"))
@example(value=[float("nan")])
@example(value=2.242387372551133e16)
@example(value=1.0)
@example(value=-(2**63) + 1)
@example(value={"": {"": [[], {}, "", "\x7f\x01\u2028😀"]}})
@shared
async def test_json_that_passes_is_kept(kept: Kept, value: Any) -> None:
    if not list(inputs.json("", value)):
        assert meant(await kept.of(input_schema=value)) == meant(value)


async def test_json_as_deep_and_as_large_as_allowed_is_kept(kept: Kept) -> None:
    value: Any = "x" * 900_000
    for _ in range(inputs.MAX_JSON_DEPTH):
        value = [value]

    assert list(inputs.json("", value)) == []
    assert await kept.of(input_schema=value) == value


@given(value=ANY_TEXT)
@shared
async def test_text_that_passes_is_kept(kept: Kept, value: str) -> None:
    if not list(inputs.text("", value)):
        assert await kept.of(description=value) == value
    if not list(inputs.name("", value)):
        assert await kept.of(name=value) == value


@given(value=ANY_TEXT)
@shared
async def test_a_remark_is_kept(kept: Kept, value: str) -> None:
    remark = inputs.storable(value, 20)

    assert await kept.of(description=remark) == remark


async def test_the_longest_text_is_kept(kept: Kept) -> None:
    value = "😀" * inputs.MAX_TEXT_CHARACTERS

    assert await kept.of(description=value) == value
