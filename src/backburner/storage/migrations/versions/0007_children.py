"""Whose a batch is, apart from its metadata, which its owners may change; and what an operator has adopted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def downgrade() -> None:
    op.drop_column("provider_batches", "by_hand")
    op.drop_table("children")


def upgrade() -> None:
    op.add_column("provider_batches", sa.Column("by_hand", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "children",
        sa.Column("parent_id", KEY, autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("child_public_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["jobs.id"], name="fk_children_parent_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("parent_id", "key", name="pk_children"),
    )
    op.execute(
        "INSERT INTO children (parent_id, key, child_public_id) "
        "SELECT parent.id, named.value, MIN(owned.job_public_id) FROM job_metadata AS owned "
        "JOIN jobs AS parent ON parent.public_id = owned.value AND parent.organization_id = owned.organization_id "
        "JOIN work ON work.job_id = parent.id "
        "JOIN job_metadata AS named ON named.job_id = owned.job_id AND named.name = 'child_key' "
        "WHERE owned.name = 'parent_job_id' GROUP BY parent.id, named.value"
    )
