"""Provider batches and what came back of them."""

from __future__ import annotations

import sqlalchemy as sa

from backburner.states import BatchStatus, ItemStatus
from backburner.storage.columns import JsonText, Key, Name
from backburner.storage.tables.parts import (
    among,
    is_among,
    key,
    metadata,
    outcome_counts,
    partial_index,
    public_id,
    time,
)

#: Provider batches that are not final. Their number does not grow with history, that of the others does.
OPEN = (
    BatchStatus.PLANNED,
    BatchStatus.SUBMITTING,
    BatchStatus.UNKNOWN,
    BatchStatus.QUARANTINED,
    BatchStatus.SUBMITTED,
    BatchStatus.ENDED,
)
#: Submissions whose outcome is not known. There are few.
UNDECIDED = (BatchStatus.SUBMITTING, BatchStatus.UNKNOWN, BatchStatus.QUARANTINED)

provider_batches = sa.Table(
    "provider_batches",
    metadata,
    key(),
    public_id(),
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
    *outcome_counts(),
    sa.Column("fill", Name(ItemStatus)),
    sa.Column("poll_failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reads", sa.Integer, nullable=False, server_default="0"),
    sa.Column("not_ours", JsonText),  # provider batches that turned out to be somebody else's
    # An operator has said which provider batch it is.
    sa.Column("by_hand", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("division", JsonText),  # what it is a part of, while the provider does not take the whole
    time("cancel_sent_at"),
    time("provider_created_at"),  # by the provider's clock
    time("not_found_since"),  # since when the provider answers nothing but 404
    time("created_at", nullable=False),
    time("intent_at"),
    time("submitted_at"),
    time("last_polled_at"),
    time("next_poll_at"),
    time("ended_at"),
    time("ingested_at"),
    sa.Column("error", JsonText),
    sa.Column("create_response", sa.Text),
    sa.Column("latest_polling_response", sa.Text),
    partial_index("ix_provider_batches_open", "provider", "status", "next_poll_at", where=among("status", OPEN)),
    partial_index("ix_provider_batches_undecided", "provider", "item_count", where=among("status", UNDECIDED)),
    sa.Index(None, "job_id", "first_idx"),
    # The provider second: all rows have the same, and a planner would take this index for it.
    sa.Index("uq_provider_batches_provider_batch_id", "provider_batch_id", "provider", unique=True),
    # Those that something is the matter with. See `storage/holds.py`.
    partial_index("ix_provider_batches_in_trouble", "job_id", where=f"{among('status', OPEN)} AND error IS NOT NULL"),
    sqlite_autoincrement=True,  # so that a late write for a deleted one never meets another
)


def is_open(table: sa.FromClause = provider_batches) -> sa.ColumnElement[bool]:
    """That a provider batch is not final, in the words of its index: a further condition may say more."""
    return is_among(table.c.status, OPEN)


def is_undecided(table: sa.FromClause = provider_batches) -> sa.ColumnElement[bool]:
    """That it is not known what became of the batch's submission, in the words of its index."""
    return is_among(table.c.status, UNDECIDED)


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
    partial_index("ix_results_failed", "job_id", "status", "idx", where="status <> 'succeeded'"),
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
