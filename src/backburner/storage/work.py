"""The queue of background jobs: entered, claimed under a lease, given back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backburner.claims import Claim
from backburner.completion import HANDLER_ERROR, STOPPED_AS
from backburner.figures import QueueFigures
from backburner.ids import Ids
from backburner.room import Room
from backburner.states import JobStatus, sources
from backburner.storage.columns import UtcDateTime
from backburner.storage.notifications import announce_jobs, announce_work
from backburner.storage.settle import finish_job
from backburner.storage.statements import bound
from backburner.storage.tables import jobs, work

QUEUED, CLAIMED = "queued", "claimed"
PRIORITY_SECONDS = 60  # by how much one step of priority is ahead: jobs that wait longer go first all the same
RECOVERED = 500  # in one transaction
WORKER_LOST = "worker_lost"


def rank(queued_at: datetime, priority: int) -> int:
    """The place in the queue. Constant while a job waits, so that those with a lower priority get their turn."""
    return int(queued_at.timestamp() * 1_000_000) - priority * PRIORITY_SECONDS * 1_000_000


def by_shared_clock(tx: sa.Connection, at: datetime, *, now: datetime) -> datetime:
    """A time that a server reckons from its own clock, by the clock that all have in common: PostgreSQL's.

    On SQLite the servers share a host, and its clock.
    """
    if tx.dialect.name != "postgresql":
        return at
    shared: datetime = tx.execute(_SHARED_NOW).scalar_one()
    return shared + (at - now)


_SHARED_NOW = sa.select(sa.func.clock_timestamp(type_=UtcDateTime))


def claim(
    tx: sa.Connection, room: Room, *, instance: str, now: datetime, lease_until: datetime, new_token: Callable[[], str]
) -> list[Claim]:
    """Claim what there is room for, first come first. Their jobs run from here on."""
    room = room.copy()  # this may have to run again
    claimed: list[Any] = []
    lease_until = by_shared_clock(tx, lease_until, now=now)
    while (limit := room.places) > 0:
        rows = list(tx.execute(_candidates(room, now, limit)))
        fitting = [row for row in rows if room.take(row.handler, row.organization_id)]
        tokens = {row.job_id: new_token() for row in fitting}
        if tokens:
            tx.execute(_CLAIM, [{"key": key, "new": token} for key, token in tokens.items()])
            _lease(tx, list(tokens), instance, lease_until)
        claimed += [(row, tokens[row.job_id]) for row in fitting]
        if len(rows) < limit:
            break
    return _started(tx, claimed, now) if claimed else []


_CLAIM = (
    sa.update(work)
    .where(work.c.job_id == sa.bindparam("key"))
    .values(state=CLAIMED, token=sa.bindparam("new"), attempt=work.c.attempt + 1)
)


def _lease(tx: sa.Connection, keys: Sequence[int], instance: str, lease_until: datetime) -> None:
    tx.execute(sa.update(work).where(work.c.job_id.in_(keys)).values(claimed_by=instance, lease_until=lease_until))


def _candidates(room: Room, now: datetime, limit: int) -> sa.Select[Any]:
    pairs = [
        sa.not_(sa.and_(work.c.handler == handler, work.c.organization_id == organization))
        for handler, organization in sorted(room.full_pairs)
    ]
    return (
        sa.select(work.c.job_id, work.c.handler, work.c.organization_id, work.c.attempt, work.c.queued_at)
        .where(
            work.c.state == QUEUED,
            work.c.available_at <= now,
            work.c.handler.in_(sorted(room.open_handlers)),
            work.c.organization_id.not_in(sorted(room.full_organizations)),
            *pairs,
        )
        .order_by(work.c.rank, work.c.job_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def _started(tx: sa.Connection, claimed: Sequence[Any], now: datetime) -> list[Claim]:
    keys = [row.job_id for row, _ in claimed]
    tx.execute(
        sa.update(jobs)
        .where(jobs.c.id.in_(keys), jobs.c.status.in_([*sources(JobStatus.RUNNING), JobStatus.RUNNING]))
        .values(
            status=JobStatus.RUNNING,
            started_at=sa.func.coalesce(jobs.c.started_at, now),
            hold=None,
            updated_at=now,
            version=jobs.c.version + 1,
        )
    )
    found = sa.select(
        jobs.c.id, jobs.c.public_id, jobs.c.user_id, jobs.c.input, jobs.c.priority, jobs.c.deadline_at
    ).where(jobs.c.id.in_(keys))
    by_key = {row.id: row for row in tx.execute(found)}
    announce_jobs(tx, [by_key[key].public_id for key in keys])
    return [
        Claim(
            job_key=row.job_id,
            job_id=by_key[row.job_id].public_id,
            handler=row.handler,
            organization_key=row.organization_id,
            user_key=by_key[row.job_id].user_id,
            token=token,
            attempt=row.attempt + 1,
            input=by_key[row.job_id].input,
            priority=by_key[row.job_id].priority,
            deadline_at=by_key[row.job_id].deadline_at,
            queued_at=row.queued_at,
        )
        for row, token in claimed
    ]


def renew(tx: sa.Connection, tokens: Sequence[str], *, now: datetime, lease_until: datetime) -> dict[str, str | None]:
    """Keep claims. Returns those that are still ours → why their job is being ended, if it is."""
    lease_until = by_shared_clock(tx, lease_until, now=now)
    held = sa.update(work).where(work.c.token.in_(tokens)).values(lease_until=lease_until).returning(work.c.job_id)
    keys = list(tx.execute(held).scalars())
    return _stopping(tx, work.c.job_id.in_(keys))


def stopping_of(tx: sa.Connection, tokens: Sequence[str]) -> dict[str, str | None]:
    """Of these claims, those that are still good → why their job is being ended, if it is."""
    return _stopping(tx, work.c.token.in_(tokens))


def _stopping(tx: sa.Connection, which: sa.ColumnElement[bool]) -> dict[str, str | None]:
    found = sa.select(work.c.token, jobs.c.stopping).join(jobs, jobs.c.id == work.c.job_id).where(which)
    return {row.token: row.stopping for row in tx.execute(found)}


def recover(tx: sa.Connection, *, now: datetime, ids: Ids, expired_before: datetime) -> list[str]:
    """Take back the claims whose lease ended before `expired_before`. Returns the ids of their jobs.

    A job that is being ended has ended then; one that has had all its attempts failed, with its error kept.
    """
    rows = list(tx.execute(_EXPIRED, {"before": by_shared_clock(tx, expired_before, now=now)}))
    if not rows:
        return []
    public_ids = [_take_back(tx, row, now, ids) for row in rows]
    announce_jobs(tx, public_ids)
    announce_work(tx)
    return public_ids


_EXPIRED = (
    sa.select(work.c.job_id, work.c.attempt, work.c.max_attempts, work.c.claimed_by)
    .where(work.c.state == CLAIMED, work.c.lease_until < sa.bindparam("before"))
    .order_by(work.c.lease_until)
    .limit(RECOVERED)
    .with_for_update(skip_locked=True)
)


def _take_back(tx: sa.Connection, row: Any, now: datetime, ids: Ids) -> str:
    job = tx.execute(sa.select(jobs.c.public_id, jobs.c.stopping, jobs.c.error).where(jobs.c.id == row.job_id)).one()
    if job.stopping is not None:
        leave(tx, row.job_id)
        finish_job(tx, row.job_id, STOPPED_AS[job.stopping], job.stopping, now=now, ids=ids)
    elif row.attempt >= row.max_attempts:
        message = f"The server that ran it ({row.claimed_by}) was lost, {row.attempt} times in all attempts."
        lost = {"code": WORKER_LOST, "message": message, "attempt": row.attempt, "previous": job.error}
        leave(tx, row.job_id)
        finish_job(tx, row.job_id, JobStatus.FAILED, HANDLER_ERROR, now=now, ids=ids, error=lost)
    else:
        give_back(tx, [{"key": row.job_id, "due": now, "uncounted": 0}])
    return str(job.public_id)


_GIVE_BACK = (
    sa.update(work)
    .where(work.c.job_id == sa.bindparam("key"))
    .values(
        state=QUEUED,
        token=None,
        claimed_by=None,
        lease_until=None,
        available_at=sa.bindparam("due", type_=work.c.available_at.type),
        attempt=work.c.attempt - sa.bindparam("uncounted", type_=sa.Integer),
    )
)


def give_back(tx: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Queue claimed jobs again: `key`, when they are `due`, and as `uncounted` 1 if the attempt does not count."""
    if rows:
        tx.execute(_GIVE_BACK, rows)


def leave(tx: sa.Connection, job_key: int) -> None:
    """The job is no longer in the queue."""
    tx.execute(sa.delete(work).where(work.c.job_id == job_key))


def is_claimed(tx: sa.Connection, job_key: int) -> bool:
    """Whether somebody executes the job now. Nobody claims it until this transaction ends."""
    state = sa.select(work.c.state).where(work.c.job_id == job_key).with_for_update()
    return tx.execute(state).scalar() == CLAIMED


_OF_EACH_STATE = sa.select(work.c.state, sa.func.count()).group_by(work.c.state)
_OLDEST = sa.select(sa.func.min(work.c.queued_at)).where(
    work.c.state == QUEUED, work.c.available_at <= bound("now", work.c.available_at)
)


def queue_figures(tx: sa.Connection, *, now: datetime) -> QueueFigures:
    """How long the queue is, and how old."""
    counts = {row[0]: row[1] for row in tx.execute(_OF_EACH_STATE)}
    oldest = tx.execute(_OLDEST, {"now": now}).scalar()
    return QueueFigures(waiting=counts.get(QUEUED, 0), claimed=counts.get(CLAIMED, 0), oldest_at=oldest)


def next_due(tx: sa.Connection, handlers: Sequence[str], *, now: datetime) -> datetime | None:
    """When, after now, a job of these handlers becomes available."""
    return tx.execute(_NEXT_DUE, {"handlers": handlers, "now": now}).scalar()


_NEXT_DUE = sa.select(sa.func.min(work.c.available_at)).where(
    work.c.state == QUEUED,
    work.c.handler.in_(sa.bindparam("handlers", expanding=True)),
    work.c.available_at > sa.bindparam("now"),
)
