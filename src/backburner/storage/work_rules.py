"""What must hold of the queue of handlers' jobs, as queries for what violates it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from backburner.states import TERMINAL, JobStatus
from backburner.storage.tables import jobs, work
from backburner.storage.work import CLAIMED


def _queued(*violated: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(jobs.c.public_id).join(work, work.c.job_id == jobs.c.id).where(*violated)


def _forgotten() -> sa.Select[Any]:
    queued = sa.select(work.c.job_id).where(work.c.job_id == jobs.c.id).exists()
    return sa.select(jobs.c.public_id).where(
        jobs.c.handler.is_not(None), jobs.c.status.not_in(list(TERMINAL)), sa.not_(queued)
    )


def _ended() -> sa.Select[Any]:
    return _queued(jobs.c.status.in_(list(TERMINAL)))


def _unlike_the_job() -> sa.Select[Any]:
    same = sa.and_(jobs.c.handler == work.c.handler, jobs.c.organization_id == work.c.organization_id)
    return _queued(sa.or_(jobs.c.handler.is_(None), sa.not_(same)))


def _half_claimed() -> sa.Select[Any]:
    marks = (work.c.token, work.c.claimed_by, work.c.lease_until)
    is_claimed = work.c.state == CLAIMED
    whole = sa.and_(is_claimed, *(mark.is_not(None) for mark in marks))
    free = sa.and_(sa.not_(is_claimed), *(mark.is_(None) for mark in marks))
    return _queued(sa.not_(sa.or_(whole, free)))


def _claimed_at_rest() -> sa.Select[Any]:
    return _queued(work.c.state == CLAIMED, jobs.c.status != JobStatus.RUNNING)


def _tried_too_often() -> sa.Select[Any]:
    return _queued(work.c.attempt > work.c.max_attempts)


WORK_RULES: tuple[tuple[str, Callable[[], sa.Select[Any]]], ...] = (
    ("a handler's job is in the queue until it has ended", _forgotten),
    ("no job that has ended is in the queue", _ended),
    ("the queue says of a job what the job says", _unlike_the_job),
    ("a claim has a token, a holder and a lease, and nothing else has", _half_claimed),
    ("a job that is claimed is running", _claimed_at_rest),
    ("no job is tried more often than it may be", _tried_too_often),
)
