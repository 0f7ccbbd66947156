"""The queue of handlers' jobs, and the batches that those jobs have made."""

from __future__ import annotations

import sqlalchemy as sa

from backburner.storage.columns import Key
from backburner.storage.tables.parts import metadata, time

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
    time("available_at", nullable=False),
    time("queued_at", nullable=False),
    time("lease_until"),  # of a claimed one: then it is taken to be nobody's
    sa.Column("claimed_by", sa.Text),
    sa.Column("token", sa.Text, unique=True),  # of the claim: what says otherwise is stale
    sa.Index(None, "state", "rank", "job_id"),
    sa.Index(None, "state", "lease_until"),
)

# Batches by what the jobs that made them call them. A row stays when its batch is deleted: who asks again must not pay
# again.
children = sa.Table(
    "children",
    metadata,
    sa.Column("parent_id", Key, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("child_public_id", sa.Text, nullable=False),
)
