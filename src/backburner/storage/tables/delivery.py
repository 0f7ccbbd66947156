"""Webhooks owed, and their attempts."""

from __future__ import annotations

import sqlalchemy as sa

from backburner.states import DeliveryStatus
from backburner.storage.columns import Key, Name
from backburner.storage.tables.parts import among, is_among, key, metadata, partial_index, public_id, time

OWED = (DeliveryStatus.PENDING,)

deliveries = sa.Table(
    "deliveries",
    metadata,
    key(),
    public_id(),
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
    time("next_attempt_at"),  # of a claimed delivery: when its lease ends
    time("created_at", nullable=False),
    partial_index("ix_deliveries_owed", "next_attempt_at", "id", where=among("status", OWED)),
    sqlite_autoincrement=True,
)


def is_owed(table: sa.FromClause = deliveries) -> sa.ColumnElement[bool]:
    """That a webhook is still to be delivered, in the words of its index."""
    return is_among(table.c.status, OWED)


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
    time("at", nullable=False),
    sa.Column("status_code", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Column("duration_ms", sa.Integer, nullable=False),
)
