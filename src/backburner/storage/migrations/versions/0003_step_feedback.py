"""What people say of steps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "step_feedback",
        sa.Column("job_id", KEY, autoincrement=False, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("feedback", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_step_feedback_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "idx", "round", name="pk_step_feedback"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("step_feedback")
