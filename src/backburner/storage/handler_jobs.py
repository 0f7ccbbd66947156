"""Making jobs that handlers execute."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs
import sqlalchemy as sa

from backburner.errors import Conflict, QuotaExceeded
from backburner.model import Job, NewJob, PlannedBatch
from backburner.storage import staging
from backburner.storage.jobs import get_job
from backburner.storage.quotas import UNLIMITED, Quotas
from backburner.storage.tables import job_metadata, work
from backburner.storage.work import QUEUED, rank

PARENT = "parent_job_id"  # members of a child's metadata
CHILD = "child_key"
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
) -> Job:
    """Make a batch that a handler's job wants: in its metadata stands whose it is. Returns one that is there already.

    Raises Conflict when the claim is no longer current: of several attempts only one at a time may make batches.
    """
    held = sa.select(work.c.job_id).where(work.c.token == child.token).with_for_update()
    if tx.execute(held).first() is None:
        raise Conflict("claim_lost", f"{child.parent} has passed to another attempt, or has ended.")
    known = child_of(tx, child, new.organization_key)
    if known is not None:
        staging.drop_key(tx, key, now=now)
        return get_job(tx, new.organization_key, known)
    mine = attrs.evolve(new, metadata={**new.metadata, PARENT: child.parent, CHILD: child.key})
    return staging.make_job(tx, key, mine, planned, now=now, quotas=quotas)


def child_of(tx: sa.Connection, child: Child, organization_key: int) -> str | None:
    """The id of the batch that an attempt of this job has made under this key."""
    named = job_metadata.alias()
    found = (
        sa.select(job_metadata.c.job_public_id)
        .join(named, named.c.job_id == job_metadata.c.job_id)
        .where(
            job_metadata.c.name == PARENT,
            job_metadata.c.value == child.parent,
            job_metadata.c.organization_id == organization_key,
            named.c.name == CHILD,
            named.c.value == child.key,
        )
    )
    return tx.execute(found.limit(1)).scalar()
