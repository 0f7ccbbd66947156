"""What people say of steps."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from backburner.storage.tables import step_feedback

ONE_STEP = ("job_id", "idx", "round")


def give_feedback(
    tx: sa.Connection, job_key: int, index: int, number: int, *, feedback: str | None, tags: Sequence[str] | None
) -> None:
    """Have this be what is said of one round of an item; tags that are None stay as they are."""
    said = {"feedback": feedback} | ({} if tags is None else {"tags": list(tags)})
    place = dict(zip(ONE_STEP, (job_key, index, number), strict=True))
    insert = (sqlite if tx.dialect.name == "sqlite" else postgresql).insert(step_feedback)
    row = insert.values(place | {"tags": []} | said)
    tx.execute(row.on_conflict_do_update(index_elements=ONE_STEP, set_=said))
