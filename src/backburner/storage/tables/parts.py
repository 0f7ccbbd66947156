"""What the tables are made of."""

from __future__ import annotations

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
