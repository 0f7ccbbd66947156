"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _deliveries()
    _items()
    _leader_epoch()
    _leader_heartbeat()
    _leader_history()
    _loose_keys()
    _organizations()
    _providers()
    _requests()
    _results()
    _server_facts()
    _attempts()
    _users()
    _webhook_secrets()
    _api_keys()
    _jobs()
    _provider_batches()
    _first_rows()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


TABLES = (
    "deliveries",
    "items",
    "leader_epoch",
    "leader_heartbeat",
    "leader_history",
    "loose_keys",
    "organizations",
    "providers",
    "requests",
    "results",
    "server_facts",
    "attempts",
    "users",
    "webhook_secrets",
    "api_keys",
    "jobs",
    "provider_batches",
)


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("job_id", KEY, nullable=False),
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("scheduled", sa.Integer(), server_default="0", nullable=False),
        sa.Column("by_hand", sa.Boolean(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("public_id", name="uq_deliveries_public_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_job_id", "deliveries", ["job_id"], unique=False)
    op.create_index("ix_deliveries_status_next_attempt_at", "deliveries", ["status", "next_attempt_at"], unique=False)


def _items() -> None:
    op.create_table(
        "items",
        sa.Column("job_id", KEY, autoincrement=False, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=False),
        sa.Column("request_idx", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "idx", name="pk_items"),
        sqlite_with_rowid=False,
    )
    op.create_index("uq_items_job_id_custom_id", "items", ["job_id", "custom_id"], unique=True)


def _leader_epoch() -> None:
    op.create_table(
        "leader_epoch",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("term_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("backend_pid", sa.Integer(), nullable=True),
        sa.Column("acquired_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leader_epoch"),
    )


def _leader_heartbeat() -> None:
    op.create_table(
        "leader_heartbeat",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leader_heartbeat"),
    )


def _leader_history() -> None:
    op.create_table(
        "leader_history",
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("term_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("acquired_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
    )
    op.create_index("ix_leader_history_epoch", "leader_history", ["epoch"], unique=False)


def _loose_keys() -> None:
    op.create_table(
        "loose_keys",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("touched_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_loose_keys"),
        sqlite_autoincrement=True,
    )


def _organizations() -> None:
    op.create_table(
        "organizations",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organizations"),
        sa.UniqueConstraint("public_id", name="uq_organizations_public_id"),
        sqlite_autoincrement=True,
    )


def _providers() -> None:
    op.create_table(
        "providers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_providers"),
    )


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("job_id", KEY, autoincrement=False, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "idx", name="pk_requests"),
    )


def _results() -> None:
    op.create_table(
        "results",
        sa.Column("job_id", KEY, autoincrement=False, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("batch_id", KEY, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "idx", "round", name="pk_results"),
    )
    op.create_index(
        "ix_results_failed",
        "results",
        ["job_id", "status", "idx"],
        unique=False,
        sqlite_where=sa.text("status <> 'succeeded'"),
        postgresql_where=sa.text("status <> 'succeeded'"),
    )


def _server_facts() -> None:
    op.create_table(
        "server_facts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_server_facts"),
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("delivery_id", KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_attempts_delivery_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("delivery_id", "number", name="pk_attempts"),
    )


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_users_organization_id"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("public_id", name="uq_users_public_id"),
        sqlite_autoincrement=True,
    )


def _webhook_secrets() -> None:
    op.create_table(
        "webhook_secrets",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retires_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_webhook_secrets_organization_id"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_secrets"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhook_secrets_organization_id", "webhook_secrets", ["organization_id"], unique=False)


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_keys_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("public_id", name="uq_api_keys_public_id"),
        sa.UniqueConstraint("secret_hash", name="uq_api_keys_secret_hash"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id"], unique=False)


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", KEY, autoincrement=False, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("job_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("stopping", sa.Text(), nullable=True),
        sa.Column("background", sa.Boolean(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=True),
        sa.Column("handler", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_of", sa.Text(), nullable=True),
        sa.Column("requests_of", KEY, nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("provider_options", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("request_config", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("callback_url", sa.Text(), nullable=True),
        sa.Column("callback_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("callback_status_code", sa.Integer(), nullable=True),
        sa.Column("callback_error", sa.Text(), nullable=True),
        sa.Column("ttft_ns", sa.BigInteger(), nullable=True),
        sa.Column("total_duration_ns", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("items_total", sa.BigInteger(), nullable=True),
        sa.Column("succeeded", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("errored", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("canceled", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expired", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cache_creation_input_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cache_read_input_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("batches_total", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("batches_ended", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("batches_final", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_jobs_organization_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_jobs_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("public_id", name="uq_jobs_public_id"),
    )
    op.create_index("ix_jobs_organization_id_public_id", "jobs", ["organization_id", "public_id"], unique=False)
    op.create_index(
        "ix_jobs_organization_id_status_public_id", "jobs", ["organization_id", "status", "public_id"], unique=False
    )
    op.create_index("ix_jobs_requests_of", "jobs", ["requests_of"], unique=False)
    op.create_index("ix_jobs_status_deadline_at", "jobs", ["status", "deadline_at"], unique=False)


def _provider_batches() -> None:
    op.create_table(
        "provider_batches",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("job_id", KEY, nullable=False),
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("first_idx", sa.Integer(), nullable=False),
        sa.Column("last_idx", sa.Integer(), nullable=False),
        sa.Column("item_count", sa.Integer(), nullable=False),
        sa.Column("byte_size", sa.BigInteger(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("provider_batch_id", sa.Text(), nullable=True),
        sa.Column("provider_status", sa.Text(), nullable=True),
        sa.Column("succeeded", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("errored", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("canceled", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expired", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fill", sa.Text(), nullable=True),
        sa.Column("poll_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reads", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_ours", sa.Text(), nullable=True),
        sa.Column("cancel_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("intent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_polled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_poll_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ingested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("create_response", sa.Text(), nullable=True),
        sa.Column("latest_polling_response", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_provider_batches_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_provider_batches"),
        sa.UniqueConstraint("public_id", name="uq_provider_batches_public_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_provider_batches_job_id_first_idx", "provider_batches", ["job_id", "first_idx"], unique=False)
    op.create_index(
        "ix_provider_batches_status_next_poll_at", "provider_batches", ["status", "next_poll_at"], unique=False
    )
    op.create_index(
        "uq_provider_batches_provider_batch_id", "provider_batches", ["provider", "provider_batch_id"], unique=True
    )


def _first_rows() -> None:
    op.execute(
        "INSERT INTO leader_epoch (name, epoch, term_id, instance_id, acquired_at) "
        "VALUES ('default', 0, '', '', CURRENT_TIMESTAMP)"
    )
    op.execute("INSERT INTO leader_heartbeat (name, epoch, renewed_at) VALUES ('default', 0, CURRENT_TIMESTAMP)")
