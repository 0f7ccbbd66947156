"""Inserting a row that may be there already."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(tx: sa.Connection, table: sa.Table, values: Mapping[str, Any], *, unique: Collection[str]) -> int | None:
    """Insert a row and return its `id`; None when one with the same `unique` columns exists.

    On PostgreSQL a transaction under way that has inserted such a row is waited for.
    """
    insert = (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(table).values(**values)
    made = tx.execute(insert.on_conflict_do_nothing(index_elements=list(unique)).returning(table.c.id))
    return made.scalar()
