"""Workflows, executions, the event log and feeds."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "feed",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("last_position", sa.BigInteger(), nullable=False),
        sa.Column("pruned_through", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("owner_id", name=op.f("pk_feed")),
    )
    op.create_table(
        "request",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "key", name=op.f("pk_request")),
    )
    op.create_table(
        "sweep",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("watermark", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sweep")),
    )
    op.create_table(
        "tracker",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("alive_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracker")),
    )
    op.create_table(
        "workflow",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("workflow_type", sa.Text(), nullable=False),
        sa.Column("task_queue", sa.Text(), nullable=False),
        sa.Column("input_schema", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("execution_timeout", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("execution_timeout > 0", name=op.f("ck_workflow_execution_timeout_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workflow")),
    )
    op.create_index(
        "ix_workflow_owner_newest",
        "workflow",
        ["owner_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "execution",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Uuid(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
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
            ),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("input", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("output", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("failure", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("temporal_workflow_id", sa.Text(), nullable=False),
        sa.Column("temporal_run_id", sa.Text(), nullable=True),
        sa.Column("next_history_event", sa.Integer(), nullable=False),
        sa.Column("start_unsettled", sa.Boolean(), nullable=False),
        sa.Column("tracker_id", sa.Uuid(), nullable=True),
        sa.Column(
            "confirmed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflow.id"], name=op.f("fk_execution_workflow_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_execution")),
        sa.UniqueConstraint("temporal_workflow_id", name=op.f("uq_execution_temporal_workflow_id")),
    )
    op.create_index(
        "ix_execution_open",
        "execution",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('PENDING', 'RUNNING', 'PAUSED')"),
    )
    op.create_index(
        "ix_execution_owner_newest",
        "execution",
        ["owner_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_execution_unconfirmed",
        "execution",
        ["confirmed_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('PENDING', 'RUNNING', 'PAUSED')"),
    )
    op.create_index(
        "ix_execution_unsettled_start",
        "execution",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("start_unsettled"),
    )
    op.create_index(op.f("ix_execution_workflow_id"), "execution", ["workflow_id"], unique=False)
    op.create_table(
        "execution_event",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("execution_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "type",
            sa.Enum(
                "EXECUTION_CREATED",
                "EXECUTION_STARTED",
                "EXECUTION_UPDATED",
                "EXECUTION_PAUSED",
                "EXECUTION_RESUMED",
                "EXECUTION_CANCEL_REQUESTED",
                "EXECUTION_CONTINUED",
                "EXECUTION_COMPLETED",
                "EXECUTION_FAILED",
                "EXECUTION_CANCELLED",
                "ACTIVITY_SCHEDULED",
                "ACTIVITY_STARTED",
                "ACTIVITY_COMPLETED",
                "ACTIVITY_FAILED",
                "ACTIVITY_TIMED_OUT",
                "ACTIVITY_CANCELLED",
                "TIMER_STARTED",
                "TIMER_FIRED",
                "TIMER_CANCELLED",
                "SIGNAL_RECEIVED",
                "UPDATE_ACCEPTED",
                "UPDATE_COMPLETED",
                "CHILD_STARTED",
                "CHILD_COMPLETED",
                "CHILD_FAILED",
                "CHILD_CANCELLED",
                name="type_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
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
            ),
            nullable=False,
        ),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["execution_id"], ["execution.id"], name=op.f("fk_execution_event_execution_id")
        ),
        sa.PrimaryKeyConstraint("owner_id", "position", name=op.f("pk_execution_event")),
        sa.UniqueConstraint("execution_id", "version", name=op.f("uq_execution_event_execution_id_version")),
    )
    op.create_index(
        "ix_execution_event_execution_position", "execution_event", ["execution_id", "position"], unique=False
    )


def downgrade() -> None:
    op.drop_index("ix_execution_event_execution_position", table_name="execution_event")
    op.drop_table("execution_event")
    op.drop_index(op.f("ix_execution_workflow_id"), table_name="execution")
    op.drop_index(
        "ix_execution_unsettled_start", table_name="execution", postgresql_where=sa.text("start_unsettled")
    )
    op.drop_index(
        "ix_execution_unconfirmed",
        table_name="execution",
        postgresql_where=sa.text("status IN ('PENDING', 'RUNNING', 'PAUSED')"),
    )
    op.drop_index("ix_execution_owner_newest", table_name="execution")
    op.drop_index(
        "ix_execution_open",
        table_name="execution",
        postgresql_where=sa.text("status IN ('PENDING', 'RUNNING', 'PAUSED')"),
    )
    op.drop_table("execution")
    op.drop_index("ix_workflow_owner_newest", table_name="workflow")
    op.drop_table("workflow")
    op.drop_table("tracker")
    op.drop_table("sweep")
    op.drop_table("request")
    op.drop_table("feed")
