"""What a mutation of an execution answers with."""

from dataclasses import dataclass

from app.db import Transaction
from app.records import Draft, ExecutionRecord
from app.store import events as event_store
from app.store import executions as store
from resolvers.context import Context


@dataclass(frozen=True)
class Outcome:
    """An execution after a mutation, and the feed position up to which that is told."""

    execution: ExecutionRecord
    position: int
    replayed: bool = False


async def append(tx: Transaction, execution: ExecutionRecord, *drafts: Draft) -> Outcome:
    """Append events to a locked execution: how it is then."""
    deliveries = await event_store.append(tx, execution, drafts)
    if deliveries:
        return Outcome(deliveries[-1].execution, deliveries[-1].position)
    return Outcome(execution, await event_store.last_position(tx.connection, execution.id))


async def present(context: Context, execution: ExecutionRecord) -> Outcome:
    """How an execution is now."""
    async with context.db.read() as connection:
        # Read before the execution: what happens in between is then told twice, not never.
        position = await event_store.last_position(connection, execution.id)
        return Outcome(await store.get(connection, context.caller, execution.id), position)
