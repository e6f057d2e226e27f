"""Starts with an idempotency key: the first one counts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import col

from app import tables
from app.auth import Caller
from app.db import Connection, Transaction
from app.errors import IdempotencyConflict
from app.records import ExecutionRecord
from app.store import executions


@dataclass(frozen=True)
class Request:
    """A start with a key of its owner's."""

    owner: str
    key: str
    asked: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """The same exactly for requests that ask for the same, whatever the order of an object's members."""
        return hashlib.sha256(orjson.dumps(self.asked, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def claim(
    tx: Transaction, caller: Caller, request: Request, execution_id: UUID
) -> ExecutionRecord | None:
    """Take the key for a new execution, which gives None, or find the execution that it started before.

    A concurrent request with the same key is waited for. Raises IdempotencyConflict where the earlier
    request was another.
    """
    row = upsert(tables.Request).values(
        owner_id=request.owner,
        key=request.key,
        fingerprint=request.fingerprint,
        execution_id=execution_id,
    )
    taken = await tx.connection.execute(row.on_conflict_do_nothing().returning(col(tables.Request.key)))
    if taken.one_or_none() is not None:
        return None
    return await earlier(tx.connection, caller, request)


async def earlier(connection: Connection, caller: Caller, request: Request) -> ExecutionRecord | None:
    """The execution that the key has started, if it has; raises IdempotencyConflict as `claim` does."""
    query = select(col(tables.Request.fingerprint), col(tables.Request.execution_id)).where(
        col(tables.Request.owner_id) == request.owner, col(tables.Request.key) == request.key
    )
    found = (await connection.execute(query)).one_or_none()
    if found is None:
        return None
    execution = await executions.get(connection, caller, found.execution_id)
    if found.fingerprint != request.fingerprint:
        raise IdempotencyConflict(execution)
    return execution
