"""Many rows at once, by each database's fastest way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from backburner.storage import postgresql, sqlite


def insert_many(tx: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
    """Insert the rows whose key is not there yet, and return how many were inserted.

    Values go to the driver as they are: no column type converts them.
    """
    if not rows:
        return 0
    if tx.dialect.name == "sqlite":
        return sqlite.insert_many(tx, table, columns, rows)
    return postgresql.insert_many(tx, table, columns, rows)
