"""How provider batches become final and jobs come to their end; shared by every verb that can cause it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from backburner.completion import PROVIDER_REJECTED, outcome
from backburner.egress import receiver_of
from backburner.ids import Ids
from backburner.model import Job
from backburner.rounds import REASONS, stopped
from backburner.states import BATCH_FINAL, BatchStatus, DeliveryStatus, ItemStatus, JobStatus, JobType, sources
from backburner.storage.members import end_members
from backburner.storage.rows import counts_of, job_of, select_jobs
from backburner.storage.statements import add, bound
from backburner.storage.tables import conversations, deliveries, jobs, provider_batches
from backburner.webhook_payload import event_type, webhook_body


def close_batch(
    tx: sa.Connection,
    batch_key: int,
    *,
    fill: ItemStatus,
    code: str | None,
    now: datetime,
    allowed: Iterable[BatchStatus],
) -> int | None:
    """End a provider batch without the provider: its items that have no result end as `fill`.

    `code` says why an errored one errored. Returns the job's key, or None when the batch's status was not in `allowed`.
    """
    row = tx.execute(sa.select(provider_batches).where(provider_batches.c.id == batch_key).with_for_update()).first()
    if row is None or row.status not in allowed:
        return None
    tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.id == batch_key)
        .values(
            status=BatchStatus.CLOSED,
            fill=fill,
            next_poll_at=None,
            not_found_since=None,
            ended_at=row.ended_at or now,
            error={"code": code} if code else row.error,
        )
    )
    if row.round > 1:
        stopping = tx.execute(sa.select(jobs.c.stopping).where(jobs.c.id == row.job_id)).scalar_one()
        reason = code or (stopped(stopping).stop_reason if stopping else REASONS[fill])
        end_members(tx, batch_key, status=fill, reason=reason, now=now)
    steps = {fill.value: counts_of(row, row.item_count).processing, "batches_final": 1}
    if row.status is not BatchStatus.ENDED:
        steps["batches_ended"] = 1
    add(tx, jobs, row.job_id, steps, now=now)
    return int(row.job_id)


def mark_ended(tx: sa.Connection, batch_key: int, values: dict[str, Any], now: datetime) -> None:
    """The provider is done with a batch. Does nothing when that is known already."""
    seen = {f"seen_{name}": value for name, value in values.items()}
    job_key = tx.execute(_ended(tuple(values)), {"key": batch_key, "now": now, **seen}).scalar()
    if job_key is not None:
        add(tx, jobs, job_key, {"batches_ended": 1}, now=now)


@cache
def _ended(seen: tuple[str, ...]) -> sa.UpdateBase:
    values = {name: bound(f"seen_{name}", provider_batches.c[name]) for name in seen}
    return (
        sa.update(provider_batches)
        .where(_IS_IT, provider_batches.c.status == BatchStatus.SUBMITTED)
        .values(status=BatchStatus.ENDED, ended_at=bound("now", provider_batches.c.ended_at), **values)
        .returning(provider_batches.c.job_id)
    )


def mark_ingested(tx: sa.Connection, batch_key: int, now: datetime) -> int | None:
    """Every item of a batch has its result. Returns the job's key, or None when that is known already."""
    job_key = tx.execute(_INGESTED, {"key": batch_key, "now": now}).scalar()
    if job_key is not None:
        add(tx, jobs, job_key, {"batches_final": 1}, now=now)
    return job_key


_IS_IT = provider_batches.c.id == bound("key", provider_batches.c.id)
_INGESTED = (
    sa.update(provider_batches)
    .where(_IS_IT, provider_batches.c.status == BatchStatus.ENDED)
    .values(
        status=BatchStatus.INGESTED,
        ingested_at=bound("now", provider_batches.c.ingested_at),
        next_poll_at=None,
        not_found_since=None,
        error=None,
    )
    .returning(provider_batches.c.job_id)
)


_JOB = sa.select(jobs).where(jobs.c.id == bound("key", jobs.c.id))


def settle_job(tx: sa.Connection, job_key: int, *, now: datetime, ids: Ids) -> Job | None:
    """End a batch job whose provider batches are all final. Returns it if this call ended it."""
    row = tx.execute(_JOB, {"key": job_key}).one()
    counts = counts_of(row, row.items_total)
    # Between the rounds of agents every batch is final, and conversations are not.
    if row.status.is_terminal or row.batches_final < row.batches_total or counts.processing:
        return None
    status, reason = outcome(counts, stopping=row.stopping, rejected=_was_rejected(tx, job_key))
    if row.job_type is JobType.RUN and row.stopping is None:
        reason = _reason_of_run(tx, job_key) or reason
    return finish_job(tx, job_key, status, reason, now=now, ids=ids)


def _reason_of_run(tx: sa.Connection, job_key: int) -> str | None:
    """Why the one conversation of a run ended."""
    return tx.execute(sa.select(conversations.c.stop_reason).where(conversations.c.job_id == job_key)).scalar()


def _was_rejected(tx: sa.Connection, job_key: int) -> bool:
    rows = tx.execute(
        sa.select(provider_batches.c.error).where(
            provider_batches.c.job_id == job_key,
            provider_batches.c.status == BatchStatus.CLOSED,
            provider_batches.c.fill == ItemStatus.ERRORED,
        )
    )
    return any(error and error.get("code") == PROVIDER_REJECTED for (error,) in rows)


def finish_job(
    tx: sa.Connection, job_key: int, status: JobStatus, reason: str | None, *, now: datetime, ids: Ids, **values: Any
) -> Job | None:
    """Enter a terminal status and, in the same transaction, owe the webhook. None when the state table forbids it."""
    ended = tx.execute(
        sa.update(jobs)
        .where(jobs.c.id == job_key, jobs.c.status.in_(list(sources(status))))
        .values(
            status=status,
            stop_reason=reason,
            hold=None,
            completed_at=now,
            updated_at=now,
            version=jobs.c.version + 1,
            **values,
        )
        .returning(jobs.c.organization_id)
    ).first()
    if ended is None:
        return None
    job = job_of(tx.execute(select_jobs().where(jobs.c.id == job_key)).one())
    if job.total_duration_ns is None:
        nanoseconds = int((now - job.created_at).total_seconds() * 1e9)
        tx.execute(sa.update(jobs).where(jobs.c.id == job_key).values(total_duration_ns=max(0, nanoseconds)))
    if job.callback_url is not None:
        _owe_delivery(tx, job, ended.organization_id, now=now, ids=ids)
    return job


def _owe_delivery(tx: sa.Connection, job: Job, organization_key: int, *, now: datetime, ids: Ids) -> None:
    assert job.callback_url is not None  # noqa: S101  # the caller asked
    tx.execute(
        sa.insert(deliveries).values(
            public_id=ids.new("delivery"),
            job_id=job.key,
            organization_id=organization_key,
            type=event_type(job),
            url=job.callback_url,
            receiver=receiver_of(job.callback_url),
            body=webhook_body(job, now).decode(),
            status=DeliveryStatus.PENDING,
            by_hand=False,
            next_attempt_at=now,
            created_at=now,
        )
    )


def open_batches(tx: sa.Connection, job_key: int) -> int:
    """How many of a job's provider batches are not final."""
    return tx.execute(
        sa.select(sa.func.count())
        .select_from(provider_batches)
        .where(provider_batches.c.job_id == job_key, provider_batches.c.status.not_in(list(BATCH_FINAL)))
    ).scalar_one()
