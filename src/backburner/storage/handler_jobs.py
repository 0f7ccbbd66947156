"""Making jobs that handlers execute."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs
import sqlalchemy as sa

from backburner.errors import Conflict, QuotaExceeded
from backburner.model import Job, NewJob, PlannedBatch
from backburner.storage import staging
from backburner.storage.quotas import UNLIMITED, Quotas
from backburner.storage.tables import children, jobs, work
from backburner.storage.work import QUEUED, rank

FULL_RETRY = 5.0  # seconds


@attrs.frozen
class Child:
    """What a job calls one of the batches that it makes."""

    parent: str  #: the job's id
    key: str
    token: str | None = None  #: of the claim under which it is made


@attrs.frozen
class QueueRules:
    """What holds for a new job in the queue."""

    max_attempts: int
    most: int = 100_000  #: jobs that may wait


def make_handler_job(
    tx: sa.Connection, new: NewJob, rules: QueueRules, *, now: datetime, quotas: Quotas = UNLIMITED
) -> Job:
    """Make a job and queue it. Raises QuotaExceeded, with the code `queue_full` when too many wait already."""
    most = rules.most
    if tx.execute(sa.select(work.c.job_id).where(work.c.state == QUEUED).offset(most - 1).limit(1)).first():
        raise QuotaExceeded("queue_full", f"{most:,} jobs wait already; try again later.", retry_after=FULL_RETRY)
    key = staging.draw_key(tx, now=now)
    job = staging.make_job(tx, key, new, now=now, quotas=quotas)
    tx.execute(
        sa.insert(work).values(
            job_id=key,
            handler=new.handler,
            organization_id=new.organization_key,
            rank=rank(now, new.priority),
            state=QUEUED,
            max_attempts=rules.max_attempts,
            available_at=now,
            queued_at=now,
        )
    )
    return job


def make_child(
    tx: sa.Connection,
    child: Child,
    key: int,
    new: NewJob,
    planned: Sequence[PlannedBatch],
    *,
    now: datetime,
    quotas: Quotas = UNLIMITED,
) -> str:
    """Make a batch that a handler's job wants, unless it is there already. Returns its id.

    Raises Conflict when the claim is no longer current: of several attempts only one at a time may make batches.
    """
    held = sa.select(work.c.job_id).where(work.c.token == child.token).with_for_update()
    parent_key = tx.execute(held).scalar()
    if parent_key is None:
        raise Conflict("claim_lost", f"{child.parent} has passed to another attempt, or has ended.")
    known = child_of(tx, child)
    if known is not None:
        staging.drop_key(tx, key)
        return known
    shown = attrs.evolve(new, metadata={**new.metadata, "parent_job_id": child.parent, "child_key": child.key})
    tx.execute(sa.insert(children).values(parent_id=parent_key, key=child.key, child_public_id=new.id))
    return staging.make_job(tx, key, shown, planned, now=now, quotas=quotas).id


def child_of(tx: sa.Connection, child: Child) -> str | None:
    """The id of the batch that an attempt of this job has made under this key, which may have been deleted since."""
    found = (
        sa.select(children.c.child_public_id)
        .join(jobs, jobs.c.id == children.c.parent_id)
        .where(jobs.c.public_id == child.parent, children.c.key == child.key)
    )
    return tx.execute(found).scalar()
