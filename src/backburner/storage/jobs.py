"""What is asked of jobs, one function each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from backburner.completion import CANCELLED_BY_USER, DEADLINE_EXCEEDED, STOPPED_AS
from backburner.errors import Conflict, NotFound
from backburner.ids import Ids
from backburner.model import Job
from backburner.rounds import stopped
from backburner.states import ACTIVE, BatchStatus, JobStatus
from backburner.storage import work
from backburner.storage.conversations import end_waiting
from backburner.storage.deliveries import delete_settled
from backburner.storage.notifications import announce_jobs, announce_work
from backburner.storage.rows import job_of, select_jobs
from backburner.storage.settle import close_batch, finish_job, open_batches, settle_job
from backburner.storage.statements import bound
from backburner.storage.tables import CONDEMNED, is_active, jobs, loose_keys, provider_batches

_JOB = select_jobs().where(jobs.c.public_id == bound("job", jobs.c.public_id))
_OWN_JOB = _JOB.where(jobs.c.organization_id == bound("organization", jobs.c.organization_id))
_ACTIVE_OF_EACH = sa.select(jobs.c.status, sa.func.count()).where(is_active()).group_by(jobs.c.status)


def get_job(tx: sa.Connection, organization_key: int | None, public_id: str) -> Job:
    """One job; None as organization means any. Raises NotFound, also for another organization's job."""
    found = _JOB if organization_key is None else _OWN_JOB
    row = tx.execute(found, {"job": public_id, "organization": organization_key}).first()
    if row is None:
        raise NotFound("job", public_id)
    return job_of(row)


def _owner(organization_key: int | None) -> list[sa.ColumnElement[bool]]:
    return [] if organization_key is None else [jobs.c.organization_id == organization_key]


def cancel_job(
    tx: sa.Connection, organization_key: int | None, public_id: str, *, now: datetime, ids: Ids
) -> tuple[Job, bool]:
    """Cancel a job, and say whether that is already done; otherwise the provider has to confirm.

    Raises NotFound, and Conflict for a job that ended otherwise.
    """
    job = lock_job(tx, organization_key, public_id)
    if job.status is JobStatus.CANCELLED:
        return job, True
    if job.status.is_terminal:
        raise Conflict("job_terminal", f"The job is already {job.status}.")
    tx.execute(
        sa.update(jobs)
        .where(jobs.c.id == job.key, jobs.c.cancel_requested_at.is_(None))
        .values(cancel_requested_at=now)
    )
    stop_job(tx, job.key, CANCELLED_BY_USER, now=now, ids=ids)
    after = get_job(tx, organization_key, public_id)
    return after, after.status.is_terminal


def stop_job(tx: sa.Connection, job_key: int, reason: str, *, now: datetime, ids: Ids) -> Job | None:
    """End a job as soon as what is in flight has come home; at once if nothing is. Returns it if it ended here."""
    tx.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_key, jobs.c.status.in_(list(ACTIVE)))
        .values(stopping=reason, updated_at=now, version=jobs.c.version + 1)
    )
    found = sa.select(jobs.c.public_id, jobs.c.items_total, jobs.c.agent.is_not(None).label("of_agents"))
    row = tx.execute(found.where(jobs.c.id == job_key)).one()
    announce_jobs(tx, [row.public_id])
    if row.items_total is None:
        if work.is_claimed(tx, job_key):
            announce_work(tx)  # who executes it has to be told, and ends it
            return None
        work.leave(tx, job_key)
        return finish_job(tx, job_key, STOPPED_AS[reason], reason, now=now, ids=ids)
    fill = stopped(reason)
    if row.of_agents:
        end_waiting(tx, job_key, status=fill.status, reason=fill.stop_reason, now=now)
    for batch_key in _planned_batches(tx, job_key):
        close_batch(tx, batch_key, fill=fill.status, code=None, now=now, allowed={BatchStatus.PLANNED})
    if open_batches(tx, job_key) == 0:
        announce_work(tx)  # answers that came before are still to be looked at
        return settle_job(tx, job_key, now=now, ids=ids)
    _poll_now(tx, job_key, now)
    return None


def _planned_batches(tx: sa.Connection, job_key: int) -> list[int]:
    planned = sa.select(provider_batches.c.id).where(
        provider_batches.c.job_id == job_key, provider_batches.c.status == BatchStatus.PLANNED
    )
    return list(tx.execute(planned.order_by(provider_batches.c.id)).scalars())


def _poll_now(tx: sa.Connection, job_key: int, now: datetime) -> None:
    tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.job_id == job_key, provider_batches.c.status == BatchStatus.SUBMITTED)
        .values(next_poll_at=now)
    )
    announce_work(tx)


def lock_job(tx: sa.Connection, organization_key: int | None, public_id: str) -> Job:
    """One job, which nobody else changes until this transaction ends. Raises NotFound."""
    tx.execute(sa.select(jobs.c.id).where(jobs.c.public_id == public_id, *_owner(organization_key)).with_for_update())
    return get_job(tx, organization_key, public_id)


def delete_job(tx: sa.Connection, organization_key: int, public_id: str) -> Job:
    """Delete a terminal job; its items, results, requests and settled webhooks follow. Returns what it was.

    Requests that a retry shares stay for it, and a pending delivery is still made. Raises NotFound and Conflict.
    """
    job = lock_job(tx, organization_key, public_id)
    if not job.status.is_terminal:
        raise Conflict("job_not_terminal", f"The job is {job.status}; cancel it first.")
    tx.execute(sa.delete(provider_batches).where(provider_batches.c.job_id == job.key))
    delete_settled(tx, [job.key])
    tx.execute(sa.delete(jobs).where(jobs.c.id == job.key))
    tx.execute(sa.insert(loose_keys).values(id=job.key, touched_at=CONDEMNED))
    announce_jobs(tx, [job.id])
    return job


def past_deadline(tx: sa.Connection, *, now: datetime, limit: int) -> list[int]:
    """Keys of active jobs whose deadline has passed and that are not being ended yet."""
    return list(tx.execute(_PAST_DEADLINE, {"now": now, "most": limit}).scalars())


_MAY_EXPIRE = (is_active(), jobs.c.stopping.is_(None))
_NEXT_DEADLINE = sa.select(sa.func.min(jobs.c.deadline_at)).where(*_MAY_EXPIRE)
_PAST_DEADLINE = (
    sa.select(jobs.c.id)
    .where(*_MAY_EXPIRE, jobs.c.deadline_at <= sa.bindparam("now"))
    .order_by(jobs.c.deadline_at, jobs.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def expire_jobs(tx: sa.Connection, *, now: datetime, limit: int, ids: Ids) -> list[str]:
    """End the jobs whose deadline has passed. Returns the ids of those that ended at once."""
    ended = [_expire(tx, key, now, ids) for key in sorted(past_deadline(tx, now=now, limit=limit))]
    return [job.id for job in ended if job is not None]


def _expire(tx: sa.Connection, key: int, now: datetime, ids: Ids) -> Job | None:
    # It may have been cancelled, or deleted, since it was found: the one before it may have had to be waited for.
    still = sa.select(jobs.c.id).where(jobs.c.id == key, *_MAY_EXPIRE).with_for_update()
    if tx.execute(still).first() is None:
        return None
    return stop_job(tx, key, DEADLINE_EXCEEDED, now=now, ids=ids)


def next_deadline(tx: sa.Connection) -> datetime | None:
    """The earliest deadline of an active job that is not being ended yet."""
    return tx.execute(_NEXT_DEADLINE).scalar()


def job_counts(tx: sa.Connection) -> Mapping[str, int]:
    """How many active jobs there are of each status."""
    return {str(status): number for status, number in tx.execute(_ACTIVE_OF_EACH)}


def set_running(tx: sa.Connection, job_key: int, *, now: datetime) -> None:
    """A batch job runs as soon as its first provider batch is at the provider."""
    tx.execute(_RUN, {"key": job_key, "now": now})


_RUN = (
    sa.update(jobs)
    .where(jobs.c.id == bound("key", jobs.c.id), jobs.c.status == JobStatus.PENDING)
    .values(
        status=JobStatus.RUNNING,
        started_at=bound("now", jobs.c.started_at),
        updated_at=bound("now", jobs.c.started_at),
        version=jobs.c.version + 1,
    )
)
