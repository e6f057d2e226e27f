"""An index for each list of all owners, which admins see, and for workflows by name."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

EXECUTIONS = {
    "newest": ["created_at DESC"],
    "started": ["COALESCE(started_at, 'infinity'::timestamp with time zone) DESC"],
    "completed": ["COALESCE(completed_at, 'infinity'::timestamp with time zone) DESC"],
    "updated": ["updated_at DESC"],
    "status_newest": ["status", "created_at DESC"],
}


def upgrade() -> None:
    for name, columns in EXECUTIONS.items():
        op.create_index(
            f"ix_execution_{name}",
            "execution",
            [*map(sa.text, columns), sa.text("id DESC")],
            postgresql_where=sa.text("version > 0"),
        )
    op.create_index("ix_workflow_newest", "workflow", [sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_index("ix_workflow_name", "workflow", ["name", "id"])
    op.create_index("ix_workflow_owner_name", "workflow", ["owner_id", "name", "id"])
    op.create_index(
        "ix_workflow_owner_search",
        "workflow",
        ["owner_id", sa.text("name gin_trgm_ops")],
        postgresql_using="gin",
    )


def downgrade() -> None:
    for name in ("owner_search", "owner_name", "name", "newest"):
        op.drop_index(f"ix_workflow_{name}", "workflow")
    for name in reversed(EXECUTIONS):
        op.drop_index(f"ix_execution_{name}", "execution")
