"""What the sandbox inside the servers keeps on PostgreSQL, which they share. On SQLite it has a file of its own."""

from __future__ import annotations

import sqlalchemy as sa

from backburner.storage.tables.parts import metadata

sandbox_batches = sa.Table(
    "sandbox_batches",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("record", sa.LargeBinary),  # NULL: deleted; the row keeps its sequence from being given again
)

sandbox_pages = sa.Table(
    "sandbox_pages",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("items", sa.LargeBinary, nullable=False),
)
