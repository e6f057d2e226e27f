"""Durations are tallied apart from statuses, so that counts do not read a row for each bucket."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

# Processes of the release before go on: the tallies that they tell apart by bucket are added to these.
PART = """
    WITH moved AS (DELETE FROM execution_tally WHERE duration_bucket > 0 RETURNING *),
    timed AS (
        INSERT INTO duration_tally (owner_id, workflow_id, hour, bucket, count)
        SELECT owner_id, workflow_id, hour, duration_bucket, count FROM moved
    )
    INSERT INTO execution_tally (owner_id, workflow_id, hour, status, duration_bucket, count)
    SELECT owner_id, workflow_id, hour, status, 0, sum(count) FROM moved GROUP BY 1, 2, 3, 4
"""
JOIN = """
    WITH parted AS (DELETE FROM execution_tally WHERE status = 'COMPLETED' AND duration_bucket = 0)
    INSERT INTO execution_tally (owner_id, workflow_id, hour, status, duration_bucket, count)
    SELECT owner_id, workflow_id, hour, 'COMPLETED', bucket, count FROM duration_tally
    ON CONFLICT (owner_id, workflow_id, hour, status, duration_bucket)
    DO UPDATE SET count = execution_tally.count + excluded.count
"""


def upgrade() -> None:
    op.create_table(
        "duration_tally",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("workflow_id", sa.Uuid(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "workflow_id", "hour", "bucket", name=op.f("pk_duration_tally")),
    )
    # Whoever appends meanwhile waits; whoever reads does not.
    op.execute("LOCK TABLE execution_tally IN EXCLUSIVE MODE")
    op.execute(PART)
    op.create_index("ix_duration_tally_owner_hour", "duration_tally", ["owner_id", "hour"])
    op.create_index("ix_duration_tally_hour", "duration_tally", ["hour"])


def downgrade() -> None:
    op.execute("LOCK TABLE execution_tally IN EXCLUSIVE MODE")
    op.execute(JOIN)
    op.drop_table("duration_tally")
