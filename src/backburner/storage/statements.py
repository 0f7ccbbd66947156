"""Statements that are built once and run with other values: building one takes longer than running it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def bound(name: str, column: sa.ColumnElement[Any]) -> sa.BindParameter[Any]:
    """A value of the column's type, given by that name when the statement runs."""
    return sa.bindparam(name, type_=column.type)
