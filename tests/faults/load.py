"""What the tests of load begin with: a user whose one execution is written to by the test itself."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from pydantic import SecretStr

from app import main
from app.records import Draft
from app.settings import Settings
from app.store import events
from app.tables import EventType, ExecutionStatus
from resolvers.context import Services
from tests import factories
from tests.client import SECRET, Client
from tests.faults.stack import TASK_QUEUE, Stack
from tests.processes.commands import Replica


@dataclass(frozen=True)
class Writer:
    """Appends to an execution that Temporal does not know, with notice to all who watch."""

    services: Services
    execution_id: str

    async def write(self, count: int, details: Any = None) -> None:
        """Append so many events in one transaction."""
        await factories.note(self.services, self.execution_id, count, details)


@dataclass(frozen=True)
class Load:
    """A replica with a database and channels of its own, a user of it, and a writer to the user's feed."""

    replica: Replica
    user: Client
    writer: Writer
    redis_prefix: str


@asynccontextmanager
async def loaded(stack: Stack, **environment: str) -> AsyncIterator[Load]:
    """A replica that nothing but the test burdens."""
    database = f"load_{secrets.token_hex(4)}"
    database_url = await stack.create_database(database)
    replica = await stack.serve({"DATABASE_URL": database_url, "REDIS_PREFIX": database, **environment})
    settings = Settings(
        database_url=database_url,
        redis_url=stack.valkey.address,
        redis_prefix=database,
        temporal_address=stack.temporal.address,
        jwt_secret=SecretStr(SECRET),
    )
    async with main.services(settings) as services, replica.api.client("reader") as user:
        workflow_id = await factories.workflow(user, TASK_QUEUE)
        yield Load(replica, user, Writer(services, await _execution(services, workflow_id)), database)
    await replica.killed()


async def _execution(services: Services, workflow_id: str) -> str:
    id, now = uuid4(), datetime.now(UTC)
    values = {
        "id": id,
        "owner_id": "reader",
        "workflow_id": UUID(workflow_id),
        "status": ExecutionStatus.PENDING,
        "started_by": "reader",
        "temporal_workflow_id": f"written-{id}",
        "start_unsettled": False,
        "confirmed_at": now,
        "created_at": now,
        "updated_at": now,
    }
    async with services.db.write() as tx:
        await events.create(tx, values, Draft(EventType.EXECUTION_CREATED, "Created", now))
    return str(id)
