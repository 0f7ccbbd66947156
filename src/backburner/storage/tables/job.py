"""Jobs and their items."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from backburner.states import ACTIVE, JobStatus, JobType
from backburner.storage.columns import JsonText, Key, Name
from backburner.storage.tables.parts import (
    among,
    count,
    is_among,
    key,
    metadata,
    outcome_counts,
    partial_index,
    public_id,
    time,
)

#: When a loose key was touched that is nobody's any more. Nothing can be staged under it, and no job be made of it.
CONDEMNED = datetime(2000, 1, 1, tzinfo=UTC)

#: Jobs that have not ended: few beside those that have.
UNENDED = tuple(status for status in JobStatus if status in ACTIVE)

# Keys whose items, requests and results belong to no job: an upload under way, one that broke off, a deleted job.
# Every job's key is drawn here, before its items are staged. What has not been touched for a while is swept.
loose_keys = sa.Table(
    "loose_keys",
    metadata,
    key(),
    time("touched_at", nullable=False),
    sqlite_autoincrement=True,
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", Key, primary_key=True, autoincrement=False),
    public_id(),
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
    sa.Column("hold", JsonText),  # why it waits: code, since, message; of a batch written by `storage/holds.py`
    sa.Column("callback_url", sa.Text),
    time("callback_sent_at"),
    sa.Column("callback_status_code", sa.Integer),
    sa.Column("callback_error", sa.Text),
    sa.Column("ttft_ns", sa.BigInteger),
    sa.Column("total_duration_ns", sa.BigInteger),
    time("created_at", nullable=False),
    time("updated_at", nullable=False),
    time("started_at"),
    time("completed_at"),
    time("cancel_requested_at"),
    time("deadline_at"),
    sa.Column("items_total", sa.BigInteger),  # null: not a batch
    *outcome_counts(),
    count("input_tokens"),
    count("output_tokens"),
    count("cache_creation_input_tokens"),
    count("cache_read_input_tokens"),
    count("batches_total"),
    count("batches_ended"),
    count("batches_final"),
    sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
    sa.Index(None, "organization_id", "public_id"),
    # Lists by type and status are merged of one short range for each combination, so none of them needs a sort.
    sa.Index(None, "organization_id", "job_type", "status", "public_id"),
    sa.Index(None, "job_type", "status", "public_id"),
    sa.Index(None, "user_id", "public_id"),
    partial_index("ix_jobs_of_agent", "agent_id", "organization_id", "public_id", where="agent_id IS NOT NULL"),
    # Those that have items. Unique, so that SQLite sees that items in their order need no sort.
    partial_index("uq_jobs_with_items", "organization_id", "public_id", where="items_total IS NOT NULL", unique=True),
    sa.Index(None, "organization_id", "updated_at", "public_id"),
    partial_index("ix_jobs_active", "status", "deadline_at", where=among("status", UNENDED)),
    partial_index("ix_jobs_held", "id", where="hold IS NOT NULL"),
    sa.Index(None, "requests_of"),
)


def is_active(table: sa.FromClause = jobs) -> sa.ColumnElement[bool]:
    """That a job has not ended, in the words of its index: a further condition may say more."""
    return is_among(table.c.status, UNENDED)


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
    partial_index("ix_items_of_agent", "agent_id", "job_id", "idx", where="agent_id IS NOT NULL"),
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
