"""The schema as it was first released. Until then it is changed here, together with `storage/tables`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _audit_log()
    _conversations()
    _deliveries()
    _file_parts()
    _idempotency_keys()
    _items()
    _leader_epoch()
    _leader_heartbeat()
    _leader_history()
    _loose_keys()
    _organizations()
    _providers()
    _quota_use()
    _requests()
    _results()
    _sandbox_batches()
    _sandbox_pages()
    _server_facts()
    _tool_calls()
    _turns()
    _attempts()
    _users()
    _webhook_secrets()
    _api_keys()
    _files()
    _jobs()
    _children()
    _job_metadata()
    _provider_batches()
    _step_feedback()
    _work()
    _first_rows()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


TABLES = (
    "audit_log",
    "conversations",
    "deliveries",
    "file_parts",
    "idempotency_keys",
    "items",
    "leader_epoch",
    "leader_heartbeat",
    "leader_history",
    "loose_keys",
    "organizations",
    "providers",
    "quota_use",
    "requests",
    "results",
    "sandbox_batches",
    "sandbox_pages",
    "server_facts",
    "tool_calls",
    "turns",
    "attempts",
    "users",
    "webhook_secrets",
    "api_keys",
    "files",
    "jobs",
    "children",
    "job_metadata",
    "provider_batches",
    "step_feedback",
    "work",
)


def _index(name: str, table: str, columns: list[str], *, unique: bool = False, where: str | None = None) -> None:
    condition = sa.text(where) if where else None
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
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
    _index("ix_audit_log_organization_id_public_id", "audit_log", ["organization_id", "public_id"])


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("job_id", KEY, autoincrement=False, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cache_creation_input_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cache_read_input_tokens", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "idx", name="pk_conversations"),
        sqlite_with_rowid=False,
    )
    _index(
        "ix_conversations_open",
        "conversations",
        ["state", "job_id", "idx"],
        where="state IN ('answered', 'tools', 'ready', 'asked')",
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
        sa.Column("next_attempt_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("public_id", name="uq_deliveries_public_id"),
        sqlite_autoincrement=True,
    )
    _index("ix_deliveries_job_id", "deliveries", ["job_id"])
    _index("ix_deliveries_owed", "deliveries", ["next_attempt_at", "id"], where="status IN ('pending')")


def _file_parts() -> None:
    op.create_table(
        "file_parts",
        sa.Column("file_id", KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("file_id", "number", name="pk_file_parts"),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Each byte is written and read once: compressing it would cost more than it saves.
        op.execute("ALTER TABLE file_parts ALTER COLUMN data SET STORAGE EXTERNAL")


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
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("locked_until", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_idempotency_keys"),
        sqlite_autoincrement=True,
    )
    _index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    _index("uq_idempotency_keys_use", "idempotency_keys", ["caller", "route", "key"], unique=True)


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
    _index("ix_items_of_agent", "items", ["agent_id", "job_id", "idx"], where="agent_id IS NOT NULL")
    _index("uq_items_job_id_custom_id", "items", ["job_id", "custom_id"], unique=True)


def _leader_epoch() -> None:
    op.create_table(
        "leader_epoch",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("term_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("backend_pid", sa.Integer(), nullable=True),
        sa.Column("acquired_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leader_epoch"),
    )


def _leader_heartbeat() -> None:
    op.create_table(
        "leader_heartbeat",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("renewed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leader_heartbeat"),
    )


def _leader_history() -> None:
    op.create_table(
        "leader_history",
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("term_id", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("acquired_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
    )
    _index("ix_leader_history_epoch", "leader_history", ["epoch"])


def _loose_keys() -> None:
    op.create_table(
        "loose_keys",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("touched_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_loose_keys"),
        sqlite_autoincrement=True,
    )


def _organizations() -> None:
    op.create_table(
        "organizations",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
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
        sa.Column("retry_at", TIME, nullable=True),
        sa.Column("changed_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_providers"),
    )


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
    _index("uq_quota_use_day", "quota_use", ["organization_id", "day"], unique=True)


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
    _index("ix_results_failed", "results", ["job_id", "status", "idx"], where="status <> 'succeeded'")


def _sandbox_batches() -> None:
    op.create_table(
        "sandbox_batches",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name="pk_sandbox_batches"),
    )


def _sandbox_pages() -> None:
    op.create_table(
        "sandbox_pages",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("items", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", "number", name="pk_sandbox_pages"),
    )


def _server_facts() -> None:
    op.create_table(
        "server_facts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_server_facts"),
    )


def _tool_calls() -> None:
    op.create_table(
        "tool_calls",
        sa.Column("job_id", KEY, autoincrement=False, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tool_use_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("is_error", sa.Boolean(), nullable=True),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("job_id", "idx", "round", "position", name="pk_tool_calls"),
    )
    _index("ix_tool_calls_open", "tool_calls", ["state", "job_id", "idx"], where="state IN ('requested', 'started')")


def _turns() -> None:
    op.create_table(
        "turns",
        sa.Column("job_id", KEY, autoincrement=False, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("batch_id", KEY, nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "idx", "round", name="pk_turns"),
        sqlite_with_rowid=False,
    )
    _index("ix_turns_of_batch", "turns", ["batch_id", "idx"], where="batch_id IS NOT NULL")


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("delivery_id", KEY, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", TIME, nullable=False),
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
        sa.Column("created_at", TIME, nullable=False),
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
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("retires_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_webhook_secrets_organization_id"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_secrets"),
        sqlite_autoincrement=True,
    )
    _index("ix_webhook_secrets_organization_id", "webhook_secrets", ["organization_id"])


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
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.Column("last_used_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_keys_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("public_id", name="uq_api_keys_public_id"),
        sa.UniqueConstraint("secret_hash", name="uq_api_keys_secret_hash"),
        sqlite_autoincrement=True,
    )
    _index("ix_api_keys_user_id", "api_keys", ["user_id"])


def _files() -> None:
    op.create_table(
        "files",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("organization_id", KEY, nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("parts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expected_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("completed_at", TIME, nullable=True),
        sa.Column("used_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_files_organization_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_files_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        sa.UniqueConstraint("public_id", name="uq_files_public_id"),
        sqlite_autoincrement=True,
    )
    _index("ix_files_organization_id_public_id", "files", ["organization_id", "public_id"])
    _index("ix_files_status_used_at", "files", ["status", "used_at"])


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
        sa.Column("agent", sa.Text(), nullable=True),
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
        sa.Column("hold", sa.Text(), nullable=True),
        sa.Column("callback_url", sa.Text(), nullable=True),
        sa.Column("callback_sent_at", TIME, nullable=True),
        sa.Column("callback_status_code", sa.Integer(), nullable=True),
        sa.Column("callback_error", sa.Text(), nullable=True),
        sa.Column("ttft_ns", sa.BigInteger(), nullable=True),
        sa.Column("total_duration_ns", sa.BigInteger(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("completed_at", TIME, nullable=True),
        sa.Column("cancel_requested_at", TIME, nullable=True),
        sa.Column("deadline_at", TIME, nullable=True),
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
    _index("ix_jobs_active", "jobs", ["status", "deadline_at"], where="status IN ('created', 'pending', 'running')")
    _index("ix_jobs_held", "jobs", ["id"], where="hold IS NOT NULL")
    _index("ix_jobs_job_type_status_public_id", "jobs", ["job_type", "status", "public_id"])
    _index("ix_jobs_of_agent", "jobs", ["agent_id", "organization_id", "public_id"], where="agent_id IS NOT NULL")
    _index(
        "ix_jobs_organization_id_job_type_status_public_id",
        "jobs",
        ["organization_id", "job_type", "status", "public_id"],
    )
    _index("ix_jobs_organization_id_public_id", "jobs", ["organization_id", "public_id"])
    _index("ix_jobs_organization_id_updated_at_public_id", "jobs", ["organization_id", "updated_at", "public_id"])
    _index("ix_jobs_requests_of", "jobs", ["requests_of"])
    _index("ix_jobs_user_id_public_id", "jobs", ["user_id", "public_id"])
    _index("uq_jobs_with_items", "jobs", ["organization_id", "public_id"], unique=True, where="items_total IS NOT NULL")


def _children() -> None:
    op.create_table(
        "children",
        sa.Column("parent_id", KEY, autoincrement=False, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("child_public_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["jobs.id"], name="fk_children_parent_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("parent_id", "key", name="pk_children"),
    )


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
    _index("ix_job_metadata_found", "job_metadata", ["name", "value", "organization_id", "job_public_id"])


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
        sa.Column("by_hand", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("division", sa.Text(), nullable=True),
        sa.Column("cancel_sent_at", TIME, nullable=True),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("not_found_since", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("intent_at", TIME, nullable=True),
        sa.Column("submitted_at", TIME, nullable=True),
        sa.Column("last_polled_at", TIME, nullable=True),
        sa.Column("next_poll_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("ingested_at", TIME, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("create_response", sa.Text(), nullable=True),
        sa.Column("latest_polling_response", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_provider_batches_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_provider_batches"),
        sa.UniqueConstraint("public_id", name="uq_provider_batches_public_id"),
        sqlite_autoincrement=True,
    )
    is_open = "status IN ('planned', 'submitting', 'unknown', 'quarantined', 'submitted', 'ended')"
    _index("ix_provider_batches_in_trouble", "provider_batches", ["job_id"], where=f"{is_open} AND error IS NOT NULL")
    _index("ix_provider_batches_job_id_first_idx", "provider_batches", ["job_id", "first_idx"])
    _index(
        "ix_provider_batches_open",
        "provider_batches",
        ["provider", "status", "next_poll_at"],
        where=is_open,
    )
    _index(
        "ix_provider_batches_undecided",
        "provider_batches",
        ["provider", "item_count"],
        where="status IN ('submitting', 'unknown', 'quarantined')",
    )
    _index("uq_provider_batches_provider_batch_id", "provider_batches", ["provider_batch_id", "provider"], unique=True)


def _step_feedback() -> None:
    op.create_table(
        "step_feedback",
        sa.Column("job_id", KEY, autoincrement=False, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("feedback", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_step_feedback_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "idx", "round", name="pk_step_feedback"),
        sqlite_with_rowid=False,
    )


def _work() -> None:
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
    _index("ix_work_state_lease_until", "work", ["state", "lease_until"])
    _index("ix_work_state_rank_job_id", "work", ["state", "rank", "job_id"])


def _first_rows() -> None:
    op.execute(
        "INSERT INTO leader_epoch (name, epoch, term_id, instance_id, acquired_at) "
        "VALUES ('default', 0, '', '', CURRENT_TIMESTAMP)"
    )
    op.execute("INSERT INTO leader_heartbeat (name, epoch, renewed_at) VALUES ('default', 0, CURRENT_TIMESTAMP)")
