"""Finding jobs by metadata and by their last change, the audit log, idempotency keys, quotas, uses of keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _job_metadata()
    _audit_log()
    _idempotency_keys()
    _quota_use()
    op.add_column("api_keys", sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(CHANGED, "jobs", ["organization_id", "updated_at", "public_id"], unique=False)
    op.drop_index(BY_STATUS, "jobs")
    for name, columns in LISTS.items():
        op.create_index(name, "jobs", columns, unique=False)
    for name, table, columns, where in PARTIAL:
        _partial_index(name, table, columns, where)


def downgrade() -> None:
    for name, table, _, _ in PARTIAL:
        op.drop_index(name, table)
    for name in LISTS:
        op.drop_index(name, "jobs")
    op.create_index(BY_STATUS, "jobs", ["organization_id", "status", "public_id"], unique=False)
    op.drop_index(CHANGED, "jobs")
    for table in reversed(TABLES):
        op.drop_table(table)
    with op.batch_alter_table("api_keys") as keys:
        keys.drop_column("last_used_at")


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    unique = name.startswith("uq_")
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


CHANGED = "ix_jobs_organization_id_updated_at_public_id"
BY_STATUS = "ix_jobs_organization_id_status_public_id"
LISTS = {
    "ix_jobs_organization_id_job_type_status_public_id": ["organization_id", "job_type", "status", "public_id"],
    "ix_jobs_job_type_status_public_id": ["job_type", "status", "public_id"],
    "ix_jobs_user_id_public_id": ["user_id", "public_id"],
}
PARTIAL = (
    ("ix_jobs_of_agent", "jobs", ["agent_id", "organization_id", "public_id"], "agent_id IS NOT NULL"),
    ("uq_jobs_with_items", "jobs", ["organization_id", "public_id"], "items_total IS NOT NULL"),
    ("ix_items_of_agent", "items", ["agent_id", "job_id", "idx"], "agent_id IS NOT NULL"),
)
TABLES = ("job_metadata", "audit_log", "idempotency_keys", "quota_use")


def _job_metadata() -> None:
    op.create_table(
        "job_metadata",
        sa.Column("job_id", KEY, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("job_public_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_metadata_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_job_metadata"),
    )
    op.create_index(
        "ix_job_metadata_found", "job_metadata", ["name", "value", "organization_id", "job_public_id"], unique=False
    )


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        sa.UniqueConstraint("public_id", name="uq_audit_log_public_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_audit_log_organization_id_public_id", "audit_log", ["organization_id", "public_id"], unique=False
    )


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("job_id", KEY, nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_idempotency_keys"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    op.create_index("uq_idempotency_keys_use", "idempotency_keys", ["caller", "route", "key"], unique=True)


def _quota_use() -> None:
    op.create_table(
        "quota_use",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("submitted", sa.BigInteger(), nullable=False),
        sa.Column("submitted_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quota_use"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_quota_use_day", "quota_use", ["organization_id", "day"], unique=True)
