"""Tallies are found by hour: an owner's, and for an admin everybody's."""

from collections.abc import Sequence

from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_index("ix_execution_tally_owner_hour", "execution_tally", ["owner_id", "hour"])
    op.create_index("ix_execution_tally_hour", "execution_tally", ["hour"])


def downgrade() -> None:
    op.drop_index("ix_execution_tally_hour", "execution_tally")
    op.drop_index("ix_execution_tally_owner_hour", "execution_tally")
