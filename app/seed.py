"""The example workflows, registered for the user of a development stack."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.auth import USER_SCOPES, Caller
from app.db import Database
from app.listings import WorkflowListing
from app.paging import MAX_PAGE_SIZE, Window
from app.store import workflows

TASK_QUEUE = "examples"

ORDER = "OrderWorkflow"

EXAMPLES = (
    (
        "Order",
        ORDER,
        "An order: stock, payment, packing, shipping. It needs no input and takes seconds.",
    ),
    ("Payment", "PaymentWorkflow", "A card payment that is declined however often it is tried: it fails."),
    ("Report", "ReportWorkflow", "A report of two minutes with progress: watch it, cancel it."),
)


async def register_examples(database_url: str, user: str) -> dict[str, UUID]:
    """Register the examples that the user does not have yet; all their ids by type. Raises Unavailable."""
    db = Database(database_url, pool_size=1, statement_timeout_seconds=10.0, announce=lambda _: None)
    caller = Caller(user, user, frozenset(USER_SCOPES), datetime.now(UTC) + timedelta(hours=1))
    try:
        async with db.read() as connection:
            page = await workflows.page(
                connection, caller, WorkflowListing(archived=True), Window(MAX_PAGE_SIZE)
            )
        ids = {record.workflow_type: record.id for record in page.items}
        async with db.write() as tx:
            for name, workflow_type, description in EXAMPLES:
                if workflow_type not in ids:
                    created = await workflows.create(tx, _values(user, name, workflow_type, description))
                    ids[workflow_type] = created.id
        return ids
    finally:
        await db.close()


def _values(user: str, name: str, workflow_type: str, description: str) -> dict[str, object]:
    now = datetime.now(UTC)
    return {
        "owner_id": user,
        "name": name,
        "description": description,
        "workflow_type": workflow_type,
        "task_queue": TASK_QUEUE,
        "created_at": now,
        "updated_at": now,
    }
