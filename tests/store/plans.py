"""How Postgres answers what the store asks."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from app.db import Database, Transaction
from tests.store.statements import Statement, recorded

# Both hold the open executions alone: one is as good as the other where no order is asked for.
OPEN = {"ix_execution_open", "ix_execution_unconfirmed"}
BULKY = {"workflow", "execution", "execution_event", "execution_tally", "duration_tally", "feed"}


@dataclass(frozen=True)
class Plan:
    """How Postgres means to answer one statement, or how it did."""

    nodes: list[dict[str, Any]]

    @property
    def indexes(self) -> set[str]:
        names = {node["Index Name"] for node in self.nodes if "Index Name" in node}
        return {"any of the open" if name in OPEN else name for name in names}

    @property
    def read_whole(self) -> set[str]:
        """The tables that are read from end to end."""
        return BULKY & {node["Relation Name"] for node in self.nodes if node["Node Type"] == "Seq Scan"}

    @property
    def flaws(self) -> set[str]:
        """What takes the longer the more there is: a table read whole, rows sorted."""
        sorts = {"a sort" for node in self.nodes if "Sort" in node["Node Type"]}
        return {f"all of {table}" for table in self.read_whole} | sorts

    @property
    def blocks_read(self) -> int:
        """How many blocks of 8 KiB were looked at, in memory or not; only of a plan with BUFFERS."""
        root = self.nodes[0]
        return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])

    @property
    def rows_read(self) -> int:
        """How many rows of tables were looked at; only of a plan that was carried out."""
        return sum(
            round(_looked_at(node) * node["Actual Loops"]) for node in self.nodes if "Relation Name" in node
        )


def _looked_at(node: dict[str, Any]) -> float:
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return float(node["Actual Rows"] + sum(node.get(each, 0) for each in removed))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


async def explain(db: Database, statement: Statement, options: str = "") -> Plan:
    """The plan for the statement with its own parameters."""
    async with db.read() as connection:
        query = f"EXPLAIN ({options} FORMAT JSON) {statement.text}"
        found = orjson.loads(await connection.driver.fetchval(query, *statement.parameters))
        return Plan(list(nodes(found[0]["Plan"])))


Ask = Callable[[Transaction], Awaitable[Any]]


async def plans(db: Database, ask: Ask, options: str = "") -> list[Plan]:
    """The plans for all that a piece of the store says."""
    async with db.write() as tx:
        with recorded(db) as said:
            await ask(tx)
    return [await explain(db, statement, options) for statement in said]
