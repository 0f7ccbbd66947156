"""Statements that are built once and run with other values: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa


def bound(name: str, column: sa.ColumnElement[Any]) -> sa.BindParameter[Any]:
    """A value of the column's type, given by that name when the statement runs."""
    return sa.bindparam(name, type_=column.type)


def add(tx: sa.Connection, table: sa.Table, key: int, steps: Mapping[str, int], *, now: datetime) -> None:
    """Add to counters of the row `key`; where rows have a version, that counts too."""
    values = {f"more_{name}": step for name, step in steps.items()}
    tx.execute(_adding(table, tuple(sorted(steps))), {"key": key, "now": now, **values})


@cache
def _adding(table: sa.Table, names: tuple[str, ...]) -> sa.Update:
    sums: dict[str, Any] = {name: table.c[name] + bound(f"more_{name}", table.c[name]) for name in names}
    if "version" in table.c:
        sums |= {"version": table.c.version + 1, "updated_at": bound("now", table.c.updated_at)}
    return sa.update(table).where(table.c.id == bound("key", table.c.id)).values(**sums)


def sorting(key: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """The order of a key, for few rows that another index finds: SQLite would read the whole table in that order."""
    return key + 0
