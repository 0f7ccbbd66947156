"""The queue of background jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def downgrade() -> None:
    op.drop_table("work")


def upgrade() -> None:
    op.create_table(
        "work",
        sa.Column("job_id", KEY, autoincrement=False, nullable=False),
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("available_at", TIME, nullable=False),
        sa.Column("queued_at", TIME, nullable=False),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("token", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_work_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name="pk_work"),
        sa.UniqueConstraint("token", name="uq_work_token"),
    )
    op.create_index("ix_work_state_rank_job_id", "work", ["state", "rank", "job_id"], unique=False)
    op.create_index("ix_work_state_lease_until", "work", ["state", "lease_until"], unique=False)
