"""What the tables are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from backburner.storage.columns import Key, UtcDateTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def key() -> sa.Column[int]:
    return sa.Column("id", Key, primary_key=True, autoincrement=True)


def public_id() -> sa.Column[str]:
    return sa.Column("public_id", sa.Text, nullable=False, unique=True)


def time(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, UtcDateTime, nullable=nullable)


def count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def outcome_counts() -> list[sa.Column[int]]:
    return [count(outcome) for outcome in ("succeeded", "errored", "canceled", "expired")]


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    """An index of the rows for which `where` holds.

    A statement uses it only if it repeats the condition, and repeats it written out: SQLite compares the expressions,
    and neither database proves anything of a value that is bound.
    """
    condition = sa.text(where)
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def among(column: str, values: Iterable[str]) -> str:
    """A condition for a partial index; `is_among` is how a statement repeats it."""
    return f"{column} IN ({_written_out(values)})"


def is_among(column: sa.ColumnElement[Any], values: Iterable[str]) -> sa.ColumnElement[bool]:
    """That the column has one of these values, which stand in the statement as in `among`."""
    return column.in_([sa.literal_column(f"'{value}'", sa.Text) for value in values])


def _written_out(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)
