"""Organizations, their users and keys."""

from __future__ import annotations

import sqlalchemy as sa

from backburner.storage.columns import JsonText, Key
from backburner.storage.tables.parts import key, metadata, public_id, time

organizations = sa.Table(
    "organizations",
    metadata,
    key(),
    public_id(),
    sa.Column("name", sa.Text, nullable=False),
    time("created_at", nullable=False),
    sqlite_autoincrement=True,
)

users = sa.Table(
    "users",
    metadata,
    key(),
    public_id(),
    sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    time("created_at", nullable=False),
    sqlite_autoincrement=True,
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    key(),
    public_id(),
    sa.Column("user_id", Key, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("prefix", sa.Text, nullable=False),
    # SHA-256 of the whole key, hexadecimal. A key has 256 random bits, so a slow hash would add nothing.
    sa.Column("secret_hash", sa.Text, nullable=False, unique=True),
    sa.Column("scopes", JsonText, nullable=False),
    sa.Column("name", sa.Text),
    time("created_at", nullable=False),
    time("expires_at"),
    time("revoked_at"),
    time("last_used_at"),  # to the minute
    sqlite_autoincrement=True,
)

webhook_secrets = sa.Table(
    "webhook_secrets",
    metadata,
    key(),
    sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), nullable=False, index=True),
    sa.Column("secret", sa.Text, nullable=False),
    time("created_at", nullable=False),
    time("retires_at"),  # signs until then; null: the current one
    sqlite_autoincrement=True,
)

# What organizations with a quota have submitted on a day (of UTC). Also what their new jobs queue up for.
quota_use = sa.Table(
    "quota_use",
    metadata,
    key(),
    sa.Column("organization_id", Key, nullable=False),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("submitted", sa.BigInteger, nullable=False),  # items
    sa.Column("submitted_bytes", sa.BigInteger, nullable=False),
    sa.Index("uq_quota_use_day", "organization_id", "day", unique=True),
    sqlite_autoincrement=True,
)
