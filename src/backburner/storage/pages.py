"""One page of a list that is ordered by public id."""

from __future__ import annotations

from typing import Any

import attrs
import sqlalchemy as sa


@attrs.frozen(kw_only=True)
class Cut:
    """Which part of a list: up to `limit` rows behind `after` or before `before`, in the chosen order.

    The cursors are public ids; their objects need not exist any more.
    """

    limit: int
    after: str | None = None
    before: str | None = None
    ascending: bool = False


def page_of(tx: sa.Connection, query: sa.Select[Any], column: sa.Column[Any], cut: Cut) -> tuple[list[Any], bool]:
    """The rows in the chosen order, and whether there are more in the direction of travel."""
    forward = cut.ascending == (cut.before is None)
    if cut.after is not None:
        query = query.where(column > cut.after if cut.ascending else column < cut.after)
    if cut.before is not None:
        query = query.where(column < cut.before if cut.ascending else column > cut.before)
    found = list(tx.execute(query.order_by(column if forward else column.desc()).limit(cut.limit + 1)))
    page = found[: cut.limit]
    return (page if cut.before is None else page[::-1]), len(found) > cut.limit
