"""Labels, reruns and delayed starts, an index for each order and filter, tallies of executions."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

COUNT_ALL = """
    INSERT INTO execution_tally (owner_id, workflow_id, hour, status, duration_bucket, count)
    SELECT owner_id, workflow_id, spans.hour, status, bucket, count(*)
    FROM execution,
        LATERAL (VALUES (date_trunc('hour', created_at, 'UTC')), (timestamptz 'epoch')) AS spans (hour),
        LATERAL (
            SELECT CASE WHEN status = 'COMPLETED' THEN
                1 + floor(ln(greatest(
                    extract(epoch FROM completed_at - coalesce(started_at, completed_at)), 0.001
                ) / 0.001) / ln(1.1))
            ELSE 0 END::smallint AS bucket
        ) AS durations
    GROUP BY 1, 2, 3, 4, 5
"""


def upgrade() -> None:
    # Both are trusted extensions: whoever may create in the database may create them.
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gin")
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.add_column(
        "execution",
        sa.Column("labels", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("execution", sa.Column("rerun_of", sa.Uuid(), nullable=True))
    op.add_column("execution", sa.Column("start_delay", sa.Integer(), nullable=True))
    op.create_foreign_key(op.f("fk_execution_rerun_of"), "execution", "execution", ["rerun_of"], ["id"])
    _create_indexes()
    _create_tallies()


def _create_indexes() -> None:
    newest = [sa.text("created_at DESC"), sa.text("id DESC")]
    op.drop_index("ix_execution_workflow_id", "execution")
    op.create_index("ix_execution_workflow_newest", "execution", ["workflow_id", *newest])
    op.create_index("ix_execution_owner_status_newest", "execution", ["owner_id", "status", *newest])
    for name, key in (
        ("started", "COALESCE(started_at, 'infinity'::timestamp with time zone)"),
        ("completed", "COALESCE(completed_at, 'infinity'::timestamp with time zone)"),
        ("updated", "updated_at"),
    ):
        op.create_index(
            f"ix_execution_owner_{name}",
            "execution",
            ["owner_id", sa.text(f"{key} DESC"), sa.text("id DESC")],
        )
    op.create_index(
        "ix_execution_owner_labels",
        "execution",
        ["owner_id", "labels"],
        postgresql_using="gin",
        postgresql_ops={"labels": "jsonb_path_ops"},
    )
    op.create_index(
        "ix_execution_owner_search",
        "execution",
        ["owner_id", sa.text("((temporal_workflow_id || ' '::text) || labels::text) gin_trgm_ops")],
        postgresql_using="gin",
    )


def _create_tallies() -> None:
    status = sa.Enum(
        "PENDING",
        "RUNNING",
        "PAUSED",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        name="status_known",
        native_enum=False,
        create_constraint=True,
        length=40,
    )
    op.create_table(
        "execution_tally",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Uuid(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", status, nullable=False),
        sa.Column("duration_bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "owner_id", "workflow_id", "hour", "status", "duration_bucket", name=op.f("pk_execution_tally")
        ),
    )
    op.execute(COUNT_ALL)


def downgrade() -> None:
    op.drop_table("execution_tally")
    for name in ("search", "labels", "updated", "completed", "started", "status_newest"):
        op.drop_index(f"ix_execution_owner_{name}", "execution")
    op.drop_index("ix_execution_workflow_newest", "execution")
    op.create_index("ix_execution_workflow_id", "execution", ["workflow_id"])
    op.drop_constraint("fk_execution_rerun_of", "execution", type_="foreignkey")
    for column in ("start_delay", "rerun_of", "labels"):
        op.drop_column("execution", column)
