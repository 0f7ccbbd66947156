"""Facts about the server as a whole: its leader, its providers."""

from __future__ import annotations

import sqlalchemy as sa

from backburner.storage.columns import JsonText
from backburner.storage.tables.parts import metadata, time

providers = sa.Table(
    "providers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),  # active | waiting | paused
    sa.Column("reason", sa.Text),
    time("retry_at"),
    time("changed_at", nullable=False),
)

# One row per fact about the server as a whole: `polling`, `last_cycle`.
server_facts = sa.Table(
    "server_facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", JsonText, nullable=False),
    time("updated_at", nullable=False),
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
    time("acquired_at", nullable=False),
)

# Apart from the fence: an update of the fenced row would wait behind every open fenced transaction.
leader_heartbeat = sa.Table(
    "leader_heartbeat",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    time("renewed_at", nullable=False),
)

leader_history = sa.Table(
    "leader_history",
    metadata,
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("term_id", sa.Text, nullable=False),
    sa.Column("instance_id", sa.Text, nullable=False),
    time("acquired_at", nullable=False),
    time("ended_at"),
    sa.Column("reason", sa.Text),
    sa.Index(None, "epoch"),
)
