"""Jobs that their owner moves from outside: made, and changed step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backburner.completion import CANCELLED_BY_USER
from backburner.errors import Conflict
from backburner.ids import Ids
from backburner.job_metadata import merged
from backburner.model import Job, NewJob
from backburner.states import TRANSITIONS, JobStatus, JobType, sources
from backburner.storage import staging
from backburner.storage.job_metadata import store_sought
from backburner.storage.jobs import get_job, lock_job
from backburner.storage.notifications import announce_jobs, announce_work
from backburner.storage.quotas import UNLIMITED, Quotas
from backburner.storage.settle import finish_job
from backburner.storage.tables import jobs


def make_plain_job(tx: sa.Connection, new: NewJob, *, now: datetime, quotas: Quotas = UNLIMITED) -> Job:
    """Make a job without items. Returns it. Raises QuotaExceeded."""
    return staging.make_job(tx, staging.draw_key(tx, now=now), new, now=now, quotas=quotas)


def update_job(
    tx: sa.Connection,
    organization_key: int,
    public_id: str,
    changes: Mapping[str, Any],
    *,
    expected: Callable[[Job], None],
    now: datetime,
    ids: Ids,
) -> Job:
    """Change a job by its owner's wish: `status`, `metadata` (merged) and plain columns. Returns it as it is then.

    `expected` raises for a job that is not in the state that the owner has in mind. Raises NotFound, Conflict when the
    state table or the kind of job forbids it, and Invalid for too much metadata; then nothing is changed.
    """
    job = lock_job(tx, organization_key, public_id)
    expected(job)
    values = dict(changes)
    status = values.pop("status", None)
    if status is not None:
        check_transition(job, status)
    if "metadata" in values:
        values["metadata"] = merged(job.metadata, values["metadata"])
        store_sought(tx, job.key, job.id, organization_key, values["metadata"])
    if status is not None or values:
        _enter(tx, job, status, values, now=now, ids=ids)
        announce_jobs(tx, [job.id])
    return get_job(tx, organization_key, public_id)


def check_transition(job: Job, to: JobStatus) -> None:
    """Raises Conflict, naming both states, for a step that is not the owner's to make or not in the state table."""
    if job.job_type is not JobType.JOB or job.handler is not None:
        kind = job.job_type if job.job_type is not JobType.JOB else "handler"
        message = f"The status of a {kind} job follows its work: it is {job.status} and cannot be set to {to}."
        raise Conflict("status_not_settable", message)
    if to not in TRANSITIONS[job.status]:
        raise _illegal(job.status, to)


def _illegal(current: JobStatus, to: JobStatus) -> Conflict:
    return Conflict("illegal_transition", f"A job that is {current} cannot become {to}.")


def _enter(
    tx: sa.Connection, job: Job, status: JobStatus | None, values: dict[str, Any], *, now: datetime, ids: Ids
) -> None:
    if status is None or not status.is_terminal:
        _move(tx, job, status, values, now)
        return
    reason = values.pop("stop_reason", job.stop_reason)
    if status is JobStatus.CANCELLED:
        reason = reason or CANCELLED_BY_USER
    if finish_job(tx, job.key, status, reason, now=now, ids=ids, **values) is None:
        raise _illegal(job.status, status)
    if job.callback_url is not None:
        announce_work(tx)


def _move(tx: sa.Connection, job: Job, status: JobStatus | None, values: dict[str, Any], now: datetime) -> None:
    guard = jobs.c.status == job.status
    if status is not None:
        guard = jobs.c.status.in_(list(sources(status)))
        values["status"] = status
    if status is JobStatus.RUNNING:
        values["started_at"] = now
    moved = tx.execute(
        sa.update(jobs).where(jobs.c.id == job.key, guard).values(**values, updated_at=now, version=jobs.c.version + 1)
    )
    if moved.rowcount == 0:
        raise _illegal(job.status, status or job.status)
