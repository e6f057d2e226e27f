"""What a piece of the application says to Postgres."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from app.db import Connection, Database


@dataclass(frozen=True)
class Statement:
    """One statement as it was sent."""

    text: str
    parameters: Sequence[Any]

    @property
    def target(self) -> str:
        """The verb and the first table: `UPDATE execution`, in a WITH of its first part."""
        text = self.text.partition("(")[2] if self.text.startswith("WITH") else self.text
        words = text.replace("INSERT INTO", "INSERT").replace("DELETE FROM", "DELETE").split()
        table = words[words.index("FROM") + 1] if words[0] == "SELECT" else words[1]
        return f"{words[0]} {table}"


@contextmanager
def recorded(db: Database) -> Iterator[list[Statement]]:
    """The statements that the database is sent meanwhile, BEGIN and COMMIT aside."""
    said: list[Statement] = []

    def note(connection: Connection, statement: Statement) -> None:
        if connection.statements is db._statements:
            said.append(statement)

    with heard(note):
        yield said


@contextmanager
def heard(note: Callable[[Connection, Statement], None]) -> Iterator[None]:
    """Have each statement noted that this process is about to send."""
    execute = Connection.execute

    async def noted(connection: Connection, statement: Any, values: Any = None) -> Any:
        note(connection, _sent(connection, statement, values))
        return await execute(connection, statement, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "execute", noted)
        yield


def _sent(connection: Connection, statement: Any, values: Any) -> Statement:
    if isinstance(values, Sequence):
        shape, many = connection.statements.ready_for_many(statement, values)
        return Statement(shape.text, many)
    shape, ordered = connection.statements.ready(statement, values or {})
    return Statement(shape.text, ordered)


async def waiting(db: Database) -> int:
    """How many of the database's connections wait for a lock."""
    ours = "datname = current_database() AND wait_event_type = 'Lock'"
    async with db.read() as connection:
        query = text(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}")
        return int((await connection.execute(query)).scalar_one())
