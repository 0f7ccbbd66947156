"""What a clock has put too far ahead: a clock that jumped ahead and came back must hold up nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from backburner.delivery_schedule import SCHEDULE
from backburner.states import BatchStatus
from backburner.storage.batches import POLLED, UNSETTLED
from backburner.storage.tables import deliveries, is_open, is_owed, jobs, provider_batches, work
from backburner.storage.work import QUEUED

#: No lease is as long, and the clocks of two hosts are not as far apart.
FAR = timedelta(hours=1)
#: Longer than the wait between looks at what a person has to settle.
LONGEST_LOOK = timedelta(hours=2)


def is_too_far_ahead(tx: sa.Connection, *, now: datetime, longest_look: timedelta) -> bool:
    """Whether there is anything to be pulled back."""
    found = (sa.select(column).where(which).limit(1) for column, which in _rules(now, longest_look))
    return any(tx.execute(query).first() is not None for query in found)


def pull_back(tx: sa.Connection, *, now: datetime, longest_look: timedelta) -> int:
    """What waits for longer than anything is ever told to wait is due now. Returns how many rows that were.

    `longest_look`: no provider batch is told to wait for longer.
    """
    changes = (
        sa.update(column.table).where(which).values({column: now}) for column, which in _rules(now, longest_look)
    )
    return sum(tx.execute(change).rowcount for change in changes)


def _rules(now: datetime, longest_look: timedelta) -> list[tuple[sa.Column[datetime], sa.ColumnElement[bool]]]:
    """The times, and which of them are too far ahead."""
    far = now + FAR
    look, attempt, start = provider_batches.c.next_poll_at, deliveries.c.next_attempt_at, work.c.available_at
    # A receiver may wish for twice the step.
    steps = {made: now + max(FAR, timedelta(seconds=2 * step)) for made, step in enumerate(SCHEDULE)}
    typed = {made: sa.literal(latest, attempt.type) for made, latest in steps.items()}
    latest = sa.case(typed, value=deliveries.c.scheduled, else_=sa.literal(far, attempt.type))
    # How long a handler that has failed is left alone is its own affair; but not if it failed in time to come.
    failed_ahead = sa.select(jobs.c.id).where(jobs.c.id == work.c.job_id, jobs.c.updated_at > far).exists()
    waits = provider_batches.c.status.in_((BatchStatus.PLANNED, *POLLED, *UNSETTLED))
    return [
        (look, sa.and_(is_open(), waits, look > now + longest_look)),
        (attempt, sa.and_(is_owed(), attempt > far, attempt > latest)),
        (start, sa.and_(work.c.state == QUEUED, start > far, sa.or_(work.c.attempt == 0, failed_ahead))),
    ]
