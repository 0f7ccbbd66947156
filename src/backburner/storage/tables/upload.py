"""Uploaded files."""

from __future__ import annotations

import sqlalchemy as sa

from backburner.files import FileStatus
from backburner.storage.columns import Key, Name
from backburner.storage.tables.parts import count, key, metadata, public_id, time

files = sa.Table(
    "files",
    metadata,
    key(),
    public_id(),
    sa.Column("organization_id", Key, sa.ForeignKey("organizations.id"), nullable=False),
    sa.Column("user_id", Key, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", Name(FileStatus), nullable=False),
    count("bytes"),
    sa.Column("parts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("revision", sa.Integer, nullable=False, server_default="0"),  # counts changes of its parts
    sa.Column("expected_bytes", sa.BigInteger),
    sa.Column("sha256", sa.Text),  # hexadecimal; as announced, and checked once it is complete
    time("created_at", nullable=False),
    time("updated_at", nullable=False),
    time("completed_at"),
    time("used_at", nullable=False),  # by anybody; what rests for long is deleted
    sa.Index(None, "organization_id", "public_id"),
    sa.Index(None, "status", "used_at"),
    sqlite_autoincrement=True,
)

# Its bytes. A part is a row, so that half a part never counts. Swept, a few at a time, after the file is deleted.
file_parts = sa.Table(
    "file_parts",
    metadata,
    sa.Column("file_id", Key, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
