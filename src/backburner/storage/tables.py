"""The schema. Integer keys join; public ids are what the outside sees."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backburner.states import (
    BatchStatus,
    ConversationState,
    DeliveryStatus,
    ItemStatus,
    JobStatus,
    JobType,
    ToolCallState,
)
from backburner.storage.columns import JsonText, Key, Name, UtcDateTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _key() -> sa.Column[int]:
    return sa.Column("id", Key, primary_key=True, autoincrement=True)


def _public_id() -> sa.Column[str]:
    return sa.Column("public_id", sa.Text, nullable=False, unique=True)


def _time(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, UtcDateTime, nullable=nullable)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _outcome_counts() -> list[sa.Column[int]]:
    return [_count(outcome) for outcome in ("succeeded", "errored", "canceled", "expired")]


organizations = sa.Table(
    "organizations",
    metadata,
    _key(),
    _public_id(),
    sa.Column("name", sa.Text, nullable=False),
    _time("created_at", nullable=False),
    sqlite_autoincrement=True,
)

users = sa.Table(
    "users",
    metadata,
    _key(),
    _public_id(),
    sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    _time("created_at", nullable=False),
    sqlite_autoincrement=True,
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    _key(),
    _public_id(),
    sa.Column("user_id", Key, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("prefix", sa.Text, nullable=False),
    # SHA-256 of the whole key, hexadecimal. A key has 256 random bits, so a slow hash would add nothing.
    sa.Column("secret_hash", sa.Text, nullable=False, unique=True),
    sa.Column("scopes", JsonText, nullable=False),
    sa.Column("name", sa.Text),
    _time("created_at", nullable=False),
    _time("expires_at"),
    _time("revoked_at"),
    sqlite_autoincrement=True,
)

webhook_secrets = sa.Table(
    "webhook_secrets",
    metadata,
    _key(),
    sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), nullable=False, index=True),
    sa.Column("secret", sa.Text, nullable=False),
    _time("created_at", nullable=False),
    _time("retires_at"),  # signs until then; null: the current one
    sqlite_autoincrement=True,
)

# Keys whose items, requests and results belong to no job: an upload under way, one that broke off, a deleted job.
# Every job's key is drawn here, before its items are staged. What has not been touched for a while is swept.
loose_keys = sa.Table(
    "loose_keys",
    metadata,
    _key(),
    _time("touched_at", nullable=False),
    sqlite_autoincrement=True,
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", Key, primary_key=True, autoincrement=False),
    _public_id(),
    sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), nullable=False),
    sa.Column("user_id", Key, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("job_type", Name(JobType), nullable=False),
    sa.Column("status", Name(JobStatus), nullable=False),
    sa.Column("stop_reason", sa.Text),
    sa.Column("stopping", sa.Text),
    sa.Column("background", sa.Boolean, nullable=False),
    sa.Column("agent_id", sa.Text),
    sa.Column("agent", JsonText),  # what each item's conversation may do; null: one round
    sa.Column("handler", sa.Text),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("retry_of", sa.Text),
    sa.Column("requests_of", Key),  # the job whose requests the items point into: its own, or a retried one's
    sa.Column("provider", sa.Text),
    sa.Column("provider_options", JsonText),
    sa.Column("metadata", JsonText, nullable=False),
    sa.Column("request_config", JsonText, nullable=False),
    sa.Column("input", JsonText),
    sa.Column("result", JsonText),
    sa.Column("error", JsonText),
    sa.Column("callback_url", sa.Text),
    _time("callback_sent_at"),
    sa.Column("callback_status_code", sa.Integer),
    sa.Column("callback_error", sa.Text),
    sa.Column("ttft_ns", sa.BigInteger),
    sa.Column("total_duration_ns", sa.BigInteger),
    _time("created_at", nullable=False),
    _time("updated_at", nullable=False),
    _time("started_at"),
    _time("completed_at"),
    _time("cancel_requested_at"),
    _time("deadline_at"),
    sa.Column("items_total", sa.BigInteger),  # null: not a batch
    *_outcome_counts(),
    _count("input_tokens"),
    _count("output_tokens"),
    _count("cache_creation_input_tokens"),
    _count("cache_read_input_tokens"),
    _count("batches_total"),
    _count("batches_ended"),
    _count("batches_final"),
    sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
    sa.Index(None, "organization_id", "public_id"),
    # Lists by type and status are merged of one short range for each combination, so none of them needs a sort.
    sa.Index(None, "organization_id", "job_type", "status", "public_id"),
    sa.Index(None, "job_type", "status", "public_id"),
    sa.Index(None, "user_id", "public_id"),
    sa.Index(
        "ix_jobs_of_agent",
        "agent_id",
        "organization_id",
        "public_id",
        sqlite_where=sa.text("agent_id IS NOT NULL"),
        postgresql_where=sa.text("agent_id IS NOT NULL"),
    ),
    # Those that have items. Unique, so that SQLite sees that items in their order need no sort.
    sa.Index(
        "uq_jobs_with_items",
        "organization_id",
        "public_id",
        unique=True,
        sqlite_where=sa.text("items_total IS NOT NULL"),
        postgresql_where=sa.text("items_total IS NOT NULL"),
    ),
    sa.Index(None, "organization_id", "updated_at", "public_id"),
    sa.Index(None, "status", "deadline_at"),
    sa.Index(None, "requests_of"),
)

items = sa.Table(
    "items",
    metadata,
    sa.Column("job_id", Key, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("custom_id", sa.Text, nullable=False),
    sa.Column("request_idx", sa.Integer, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),  # bytes of the request's params
    sa.Column("agent_id", sa.Text),
    sa.Index("uq_items_job_id_custom_id", "job_id", "custom_id", unique=True),
    sa.Index(
        "ix_items_of_agent",
        "agent_id",
        "job_id",
        "idx",
        sqlite_where=sa.text("agent_id IS NOT NULL"),
        postgresql_where=sa.text("agent_id IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

# Wide rows, written once. A retry's items point here too.
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("job_id", Key, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("params", sa.Text, nullable=False),  # verbatim
)

provider_batches = sa.Table(
    "provider_batches",
    metadata,
    _key(),
    _public_id(),
    sa.Column("job_id", Key, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("organization_id", Key, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("status", Name(BatchStatus), nullable=False),
    sa.Column("first_idx", sa.Integer, nullable=False),
    sa.Column("last_idx", sa.Integer, nullable=False),
    sa.Column("item_count", sa.Integer, nullable=False),
    sa.Column("byte_size", sa.BigInteger, nullable=False),
    sa.Column("nonce", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("epoch", sa.BigInteger),  # the term whose submitter made the last attempt
    sa.Column("provider_batch_id", sa.Text),
    sa.Column("provider_status", sa.Text),
    *_outcome_counts(),
    sa.Column("fill", Name(ItemStatus)),
    sa.Column("poll_failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reads", sa.Integer, nullable=False, server_default="0"),
    sa.Column("not_ours", JsonText),  # provider batches that turned out to be somebody else's
    _time("cancel_sent_at"),
    _time("created_at", nullable=False),
    _time("intent_at"),
    _time("submitted_at"),
    _time("last_polled_at"),
    _time("next_poll_at"),
    _time("ended_at"),
    _time("ingested_at"),
    sa.Column("error", JsonText),
    sa.Column("create_response", sa.Text),
    sa.Column("latest_polling_response", sa.Text),
    sa.Index(None, "status", "next_poll_at"),
    sa.Index(None, "job_id", "first_idx"),
    sa.Index("uq_provider_batches_provider_batch_id", "provider", "provider_batch_id", unique=True),
    sqlite_autoincrement=True,  # so that a late write for a deleted one never meets another
)

# Append-only: one row per step, the provider's bytes as they came.
results = sa.Table(
    "results",
    metadata,
    sa.Column("job_id", Key, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("batch_id", Key, nullable=False),
    sa.Column("status", Name(ItemStatus), nullable=False),
    sa.Column("line", sa.Text, nullable=False),  # the `result` member of the provider's line, verbatim
    # Most results succeed; the others are what people look for.
    sa.Index(
        "ix_results_failed",
        "job_id",
        "status",
        "idx",
        sqlite_where=sa.text("status <> 'succeeded'"),
        postgresql_where=sa.text("status <> 'succeeded'"),
    ),
)

# What a person said of a step.
step_feedback = sa.Table(
    "step_feedback",
    metadata,
    sa.Column("job_id", Key, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("feedback", sa.Text),  # positive | negative
    sa.Column("tags", JsonText, nullable=False),
    sqlite_with_rowid=False,
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    _key(),
    _public_id(),
    # No foreign key: a delivery outlives its job.
    sa.Column("job_id", Key, nullable=False, index=True),
    sa.Column("organization_id", Key, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("receiver", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("status", Name(DeliveryStatus), nullable=False),
    sa.Column("number", sa.Integer, nullable=False, server_default="0"),  # attempts made
    sa.Column("scheduled", sa.Integer, nullable=False, server_default="0"),  # of them, those of the current schedule
    sa.Column("by_hand", sa.Boolean, nullable=False),  # the next attempt is a redelivery, outside the schedule
    _time("next_attempt_at"),  # of a claimed delivery: when its lease ends
    _time("created_at", nullable=False),
    sa.Index(None, "status", "next_attempt_at"),
    sqlite_autoincrement=True,
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column(
        "delivery_id",
        Key,
        sa.ForeignKey("deliveries.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    _time("at", nullable=False),
    sa.Column("status_code", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Column("duration_ms", sa.Integer, nullable=False),
)

providers = sa.Table(
    "providers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),  # active | waiting | paused
    sa.Column("reason", sa.Text),
    _time("retry_at"),
    _time("changed_at", nullable=False),
)

# One row per fact about the server as a whole: `polling`, `last_cycle`.
server_facts = sa.Table(
    "server_facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", JsonText, nullable=False),
    _time("updated_at", nullable=False),
)

# Written only when a term begins: this row is the fence.
leader_epoch = sa.Table(
    "leader_epoch",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("term_id", sa.Text, nullable=False),
    sa.Column("instance_id", sa.Text, nullable=False),
    sa.Column("backend_pid", sa.Integer),
    _time("acquired_at", nullable=False),
)

# Apart from the fence: an update of the fenced row would wait behind every open fenced transaction.
leader_heartbeat = sa.Table(
    "leader_heartbeat",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    _time("renewed_at", nullable=False),
)

leader_history = sa.Table(
    "leader_history",
    metadata,
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("term_id", sa.Text, nullable=False),
    sa.Column("instance_id", sa.Text, nullable=False),
    _time("acquired_at", nullable=False),
    _time("ended_at"),
    sa.Column("reason", sa.Text),
    sa.Index(None, "epoch"),
)

# Members of a job's metadata whose values are text, numbers or booleans, so that jobs can be found by them.
job_metadata = sa.Table(
    "job_metadata",
    metadata,
    sa.Column("job_id", Key, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),  # text as it is, other values as their JSON
    sa.Column("organization_id", Key, nullable=False),
    sa.Column("job_public_id", sa.Text, nullable=False),
    # The organization third: an operator's search over all of them uses it too.
    sa.Index("ix_job_metadata_found", "name", "value", "organization_id", "job_public_id"),
)

# Append-only: who did what to which object, when, from where. Outlives everything that it names.
audit_log = sa.Table(
    "audit_log",
    metadata,
    _key(),
    _public_id(),
    _time("at", nullable=False),
    sa.Column("organization_id", Key, nullable=False),
    sa.Column("user_id", sa.Text),  # public ids
    sa.Column("key_id", sa.Text),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("object_type", sa.Text, nullable=False),
    sa.Column("object_id", sa.Text, nullable=False),
    sa.Column("address", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("detail", JsonText),
    sa.Index(None, "organization_id", "public_id"),
    sqlite_autoincrement=True,
)

# What was answered to a POST, so that its repetition is answered alike. A row without an answer: still under way.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    _key(),
    sa.Column("caller", sa.Text, nullable=False),  # the API key's public id
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("body_hash", sa.Text, nullable=False),  # SHA-256, hexadecimal, the query string included
    sa.Column("job_id", Key),  # the job that the request made, if it makes one
    sa.Column("status", sa.Integer),
    sa.Column("response", sa.Text),
    _time("created_at", nullable=False),
    _time("locked_until"),  # of one under way: after that its process is taken to have died
    sa.Index("uq_idempotency_keys_use", "caller", "route", "key", unique=True),
    sa.Index(None, "created_at"),
    sqlite_autoincrement=True,
)

# Items that organizations with a quota have submitted on a day (of UTC). Also what their new jobs queue up for.
quota_use = sa.Table(
    "quota_use",
    metadata,
    _key(),
    sa.Column("organization_id", Key, nullable=False),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("submitted", sa.BigInteger, nullable=False),
    sa.Index("uq_quota_use_day", "organization_id", "day", unique=True),
    sqlite_autoincrement=True,
)

# One row for each item of an agent job from its first answer on. Items without a row are in their first round, or their
# provider batch was closed in it.
conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("job_id", Key, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, nullable=False),  # of the newest request
    sa.Column("state", Name(ConversationState), nullable=False),
    sa.Column("status", Name(ItemStatus)),  # set exactly when it is done
    sa.Column("stop_reason", sa.Text),
    _count("input_tokens"),
    _count("output_tokens"),
    _count("cache_creation_input_tokens"),
    _count("cache_read_input_tokens"),
    _time("updated_at", nullable=False),
    sa.Index(
        "ix_conversations_open",
        "state",
        "job_id",
        "idx",
        sqlite_where=sa.text("state <> 'done'"),
        postgresql_where=sa.text("state <> 'done'"),
    ),
    sqlite_with_rowid=False,
)

# Requests of later rounds. A provider batch of such a round holds the items whose turns name it: they are no range.
turns = sa.Table(
    "turns",
    metadata,
    sa.Column("job_id", Key, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("batch_id", Key),  # null: not planned yet
    sa.Column("size", sa.BigInteger, nullable=False),  # of the request that is put together when it is sent; about
    sa.Index(
        "ix_turns_of_batch",
        "batch_id",
        "idx",
        sqlite_where=sa.text("batch_id IS NOT NULL"),
        postgresql_where=sa.text("batch_id IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

# The tool ledger: one row for each call that a model asked for. A finished one is never made again.
tool_calls = sa.Table(
    "tool_calls",
    metadata,
    sa.Column("job_id", Key, primary_key=True, autoincrement=False),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),  # of the answer that asks for it
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tool_use_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("input", sa.Text, nullable=False),  # JSON, verbatim
    sa.Column("state", Name(ToolCallState), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),  # how often it was started
    sa.Column("epoch", sa.BigInteger),  # the term that started it last
    sa.Column("result", sa.Text),  # JSON: the content that the model is given
    sa.Column("is_error", sa.Boolean),
    _time("requested_at", nullable=False),
    _time("started_at"),
    _time("finished_at"),
    sa.Index(
        "ix_tool_calls_open",
        "state",
        "job_id",
        "idx",
        sqlite_where=sa.text("state IN ('requested', 'started')"),
        postgresql_where=sa.text("state IN ('requested', 'started')"),
    ),
)

# Jobs that a handler is to execute. A row exists exactly as long as its job has not ended.
work = sa.Table(
    "work",
    metadata,
    sa.Column("job_id", Key, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column("handler", sa.Text, nullable=False),
    sa.Column("organization_id", Key, nullable=False),
    # Place in the queue, lowest first: when it was queued, in microseconds, less what its priority is worth.
    sa.Column("rank", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # queued | claimed
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),  # claims that count
    sa.Column("max_attempts", sa.Integer, nullable=False),
    _time("available_at", nullable=False),
    _time("queued_at", nullable=False),
    _time("lease_until"),  # of a claimed one: then it is taken to be nobody's
    sa.Column("claimed_by", sa.Text),
    sa.Column("token", sa.Text, unique=True),  # of the claim: what says otherwise is stale
    sa.Index(None, "state", "rank", "job_id"),
    sa.Index(None, "state", "lease_until"),
)
