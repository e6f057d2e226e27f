"""What a piece of the application says to Postgres."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event, text

from app.db import Database


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
    engine, said = db._engine.sync_engine, list[Statement]()

    def note(_: object, __: object, text: str, parameters: Any, *___: object) -> None:
        said.append(Statement(text, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def waiting(db: Database) -> int:
    """How many of the database's connections wait for a lock."""
    ours = "datname = current_database() AND wait_event_type = 'Lock'"
    async with db.read() as connection:
        query = text(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}")
        return int((await connection.execute(query)).scalar_one())
