"""A database put back to an older state: what it calls planned may have been submitted since."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from backburner.states import BatchStatus
from backburner.storage.tables import is_open, jobs, leader_history, provider_batches, server_facts


def doubt_submissions(tx: sa.Connection, *, now: datetime) -> int:
    """Have every planned batch looked for at the provider before it is sent. Returns how many there are.

    As after a lost answer: what is found is adopted, what is not found is submitted. Harmless when nothing is amiss.
    """
    doubted = tx.execute(
        sa.update(provider_batches)
        .where(is_open(), provider_batches.c.status == BatchStatus.PLANNED)
        .values(
            status=BatchStatus.UNKNOWN,
            intent_at=newest_change(tx) or now,
            next_poll_at=now,
            error={"code": "restored"},
        )
    )
    return int(doubted.rowcount)


def newest_change(tx: sa.Connection) -> datetime | None:
    """The last sign of life in a database: whatever it does not know of happened later. None when there is none."""
    signs = (
        sa.select(sa.func.max(jobs.c.updated_at)),
        sa.select(sa.func.max(server_facts.c.updated_at)),
        sa.select(sa.func.max(leader_history.c.acquired_at)),
    )
    return max((at for sign in signs if (at := tx.execute(sign).scalar()) is not None), default=None)
