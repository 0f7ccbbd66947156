"""What is kept of requests: who changed what, and what was answered."""

from __future__ import annotations

import sqlalchemy as sa

from backburner.storage.columns import JsonText, Key
from backburner.storage.tables.parts import key, metadata, public_id, time

# Append-only: who did what to which object, when, from where. Outlives everything that it names.
audit_log = sa.Table(
    "audit_log",
    metadata,
    key(),
    public_id(),
    time("at", nullable=False),
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
    key(),
    sa.Column("caller", sa.Text, nullable=False),  # the API key's public id
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("body_hash", sa.Text, nullable=False),  # SHA-256, hexadecimal, the query string included
    sa.Column("job_id", Key),  # the job that the request made, if it makes one
    sa.Column("status", sa.Integer),
    sa.Column("response", sa.Text),
    time("created_at", nullable=False),
    time("locked_until"),  # of one under way: after that its process is taken to have died
    sa.Index("uq_idempotency_keys_use", "caller", "route", "key", unique=True),
    sa.Index(None, "created_at"),
    sqlite_autoincrement=True,
)
