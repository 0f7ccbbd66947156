"""What is asked of provider batches, one function each. All that changes one at the provider's side is the leader's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from backburner.completion import LOOKBACK_EXCEEDED, PROVIDER_REJECTED
from backburner.errors import Conflict, NotFound
from backburner.ids import Ids
from backburner.model import Job, PlannedBatch, ProviderBatch
from backburner.states import BATCH_FINAL, BATCH_IN_FLIGHT, BatchStatus, ItemStatus
from backburner.storage.jobs import set_running
from backburner.storage.notifications import announce_jobs, announce_work
from backburner.storage.rows import batch_of, select_batches
from backburner.storage.settle import close_batch, settle_job
from backburner.storage.tables import items, jobs, provider_batches, requests
from backburner.submission import Candidate

T = TypeVar("T")

#: Statuses whose `next_poll_at` the poller answers.
POLLED = (BatchStatus.SUBMITTED, BatchStatus.ENDED)
#: Statuses of submissions whose outcome is not known.
UNSETTLED = (BatchStatus.UNKNOWN, BatchStatus.QUARANTINED)


def get_batch(tx: sa.Connection, key: int) -> ProviderBatch:
    """One provider batch. Raises NotFound when its job was deleted meanwhile."""
    row = tx.execute(select_batches().where(provider_batches.c.id == key)).first()
    if row is None:
        raise NotFound("provider batch", str(key))
    return batch_of(row)


def batches_of_job(tx: sa.Connection, job_key: int) -> list[ProviderBatch]:
    """A job's provider batches, by round and then in the order of their items."""
    found = select_batches().where(provider_batches.c.job_id == job_key)
    return [batch_of(row) for row in tx.execute(found.order_by(provider_batches.c.round, provider_batches.c.first_idx))]


# --- polling -----------------------------------------------------------------------------------------------


def due_batches(tx: sa.Connection, provider: str, *, now: datetime, limit: int, above: int = 0) -> list[ProviderBatch]:
    """A provider's batches whose poll is due, by key, from the one after `above` on."""
    due = select_batches().where(
        provider_batches.c.provider == provider,
        provider_batches.c.status.in_(POLLED),
        provider_batches.c.next_poll_at <= now,
        provider_batches.c.id > above,
    )
    return [batch_of(row) for row in tx.execute(due.order_by(provider_batches.c.id).limit(limit))]


def next_poll_time(tx: sa.Connection, provider: str, statuses: Sequence[BatchStatus] = POLLED) -> datetime | None:
    """The earliest `next_poll_at` of a provider's batches in the given statuses."""
    earliest = sa.select(sa.func.min(provider_batches.c.next_poll_at)).where(
        provider_batches.c.provider == provider, provider_batches.c.status.in_(list(statuses))
    )
    return tx.execute(earliest).scalar()


def batches_older_than(tx: sa.Connection, *, before: datetime, limit: int) -> list[ProviderBatch]:
    """Batches that the provider was given before `before` and that are not final."""
    old = select_batches().where(
        provider_batches.c.status.in_([BatchStatus.SUBMITTED, BatchStatus.ENDED]),
        provider_batches.c.submitted_at < before,
    )
    return [batch_of(row) for row in tx.execute(old.order_by(provider_batches.c.id).limit(limit))]


def give_up(tx: sa.Connection, key: int, *, now: datetime, ids: Ids) -> Job | None:
    """Expire a batch that is older than the lookback: what it owes counts as expired. Returns a job that this ended."""
    job_key = close_batch(tx, key, fill=ItemStatus.EXPIRED, code=LOOKBACK_EXCEEDED, now=now, allowed=POLLED)
    if job_key is None:
        return None
    tx.execute(
        sa.update(jobs).where(jobs.c.id == job_key, jobs.c.stopping.is_(None)).values(stopping=LOOKBACK_EXCEEDED)
    )
    return settled(tx, job_key, now=now, ids=ids)


# --- submitting --------------------------------------------------------------------------------------------


def submittable(tx: sa.Connection, *, now: datetime) -> list[Candidate]:
    """Of each organization the planned batch that is to go first: of the most urgent job, oldest first."""
    rank = sa.func.row_number().over(
        partition_by=(provider_batches.c.provider, provider_batches.c.organization_id),
        order_by=(jobs.c.priority.desc(), provider_batches.c.id),
    )
    waiting = (
        sa.select(
            provider_batches.c.id,
            provider_batches.c.organization_id,
            provider_batches.c.provider,
            provider_batches.c.item_count,
            rank.label("rank"),
        )
        .select_from(provider_batches.join(jobs, jobs.c.id == provider_batches.c.job_id))
        .where(provider_batches.c.status == BatchStatus.PLANNED, provider_batches.c.next_poll_at <= now)
        .subquery()
    )
    rows = tx.execute(sa.select(waiting).where(waiting.c.rank == 1).order_by(waiting.c.id))
    return [
        Candidate(
            key=row.id,
            organization_key=row.organization_id,
            provider=row.provider,
            item_count=row.item_count,
        )
        for row in rows
    ]


def queued_items(tx: sa.Connection, provider: str) -> Mapping[int, int]:
    """How many items each organization has, or may have, waiting at a provider."""
    queued = (
        sa.select(provider_batches.c.organization_id, sa.func.sum(provider_batches.c.item_count))
        .where(provider_batches.c.provider == provider, provider_batches.c.status.in_(_QUEUED))
        .group_by(provider_batches.c.organization_id)
    )
    return {int(organization): int(count) for organization, count in tx.execute(queued)}


_QUEUED = sorted(BATCH_IN_FLIGHT - {BatchStatus.ENDED})


def begin_attempt(tx: sa.Connection, key: int, *, epoch: int, now: datetime) -> ProviderBatch | None:
    """Record the intent to submit, before the provider is called. None when the batch is no longer to be submitted."""
    started = tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.id == key, provider_batches.c.status == BatchStatus.PLANNED)
        .values(
            status=BatchStatus.SUBMITTING,
            attempt=provider_batches.c.attempt + 1,
            epoch=epoch,
            intent_at=now,
            next_poll_at=now,
        )
    )
    return get_batch(tx, key) if started.rowcount else None


def requests_of_batch(tx: sa.Connection, key: int, make: Callable[[int, str], T]) -> list[T]:
    """make(index, params) of every item of a provider batch, in order; made here, off the Trio thread."""
    wanted = (
        sa.select(items.c.idx, requests.c.params)
        .select_from(
            provider_batches.join(jobs, jobs.c.id == provider_batches.c.job_id)
            .join(
                items,
                sa.and_(
                    items.c.job_id == provider_batches.c.job_id,
                    items.c.idx.between(provider_batches.c.first_idx, provider_batches.c.last_idx),
                ),
            )
            .join(requests, sa.and_(requests.c.job_id == jobs.c.requests_of, requests.c.idx == items.c.request_idx))
        )
        .where(provider_batches.c.id == key)
        .order_by(items.c.idx)
    )
    return [make(index, params) for index, params in tx.execute(wanted)]


def provider_options(tx: sa.Connection, job_key: int) -> Mapping[str, str]:
    """What the job's creator asked to be sent along: API version, betas."""
    return tx.execute(sa.select(jobs.c.provider_options).where(jobs.c.id == job_key)).scalar_one() or {}


def attach(
    tx: sa.Connection,
    key: int,
    *,
    provider_batch_id: str,
    status: str,
    response: bytes,
    now: datetime,
    next_poll_at: datetime,
) -> bool:
    """The provider has the batch. False when it had been settled otherwise meanwhile."""
    row = tx.execute(
        sa.update(provider_batches)
        .where(
            provider_batches.c.id == key,
            provider_batches.c.status.in_([BatchStatus.SUBMITTING, BatchStatus.UNKNOWN, BatchStatus.QUARANTINED]),
        )
        .values(
            status=BatchStatus.SUBMITTED,
            provider_batch_id=provider_batch_id,
            provider_status=status,
            create_response=response.decode(),
            submitted_at=now,
            next_poll_at=next_poll_at,
            poll_failures=0,
            error=None,
        )
        .returning(provider_batches.c.job_id)
    ).first()
    if row is None:
        return False
    set_running(tx, row.job_id, now=now)
    _announce(tx, row.job_id)
    return True


def postpone(tx: sa.Connection, key: int, *, until: datetime, error: Any, now: datetime, ids: Ids) -> None:
    """Nothing was made at the provider: back to planned, or closed if the job is being ended."""
    row = tx.execute(
        sa.update(provider_batches)
        .where(
            provider_batches.c.id == key,
            provider_batches.c.status.in_([BatchStatus.SUBMITTING, BatchStatus.UNKNOWN]),
        )
        .values(status=BatchStatus.PLANNED, next_poll_at=until, error=error)
        .returning(provider_batches.c.job_id)
    ).first()
    if row is not None:
        _drop_if_stopping(tx, row.job_id, key, now=now, ids=ids)


def _drop_if_stopping(tx: sa.Connection, job_key: int, key: int, *, now: datetime, ids: Ids) -> None:
    stopping = tx.execute(sa.select(jobs.c.stopping).where(jobs.c.id == job_key).with_for_update()).scalar_one()
    if stopping is not None:
        fill = ItemStatus.CANCELED if stopping == "cancelled_by_user" else ItemStatus.EXPIRED
        close_batch(tx, key, fill=fill, code=None, now=now, allowed={BatchStatus.PLANNED})
        settled(tx, job_key, now=now, ids=ids)


def set_unknown(tx: sa.Connection, key: int, *, look_at: datetime, error: Any) -> None:
    """Whether the provider made the batch is not known; `look_at` is when to look for it."""
    tx.execute(
        sa.update(provider_batches)
        .where(
            provider_batches.c.id == key,
            provider_batches.c.status.in_([BatchStatus.SUBMITTING, *UNSETTLED]),
        )
        .values(status=BatchStatus.UNKNOWN, next_poll_at=look_at, error=error)
    )


def quarantine(tx: sa.Connection, key: int, *, error: Any, look_at: datetime) -> None:
    """Only a person can tell what became of this submission."""
    tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.id == key, provider_batches.c.status == BatchStatus.UNKNOWN)
        .values(status=BatchStatus.QUARANTINED, next_poll_at=look_at, error=error)
    )


def unsettled_submissions(tx: sa.Connection, provider: str, *, epoch: int, now: datetime) -> list[int]:
    """A provider's submissions to look for now: what earlier terms had under way, and those whose next look is due."""
    found = sa.select(provider_batches.c.id).where(
        provider_batches.c.provider == provider,
        sa.or_(
            sa.and_(provider_batches.c.status.in_(UNSETTLED), provider_batches.c.next_poll_at <= now),
            sa.and_(provider_batches.c.status == BatchStatus.SUBMITTING, provider_batches.c.epoch < epoch),
        ),
    )
    return list(tx.execute(found.order_by(provider_batches.c.id)).scalars())


def not_candidates(tx: sa.Connection, key: int) -> frozenset[str]:
    """Provider batches that cannot be the one a lost submission made: those known here, and those ruled out."""
    provider = sa.select(provider_batches.c.provider).where(provider_batches.c.id == key).scalar_subquery()
    known = sa.select(provider_batches.c.provider_batch_id).where(
        provider_batches.c.provider == provider, provider_batches.c.provider_batch_id.is_not(None)
    )
    ruled_out = tx.execute(sa.select(provider_batches.c.not_ours).where(provider_batches.c.id == key)).scalar()
    return frozenset(tx.execute(known).scalars()) | frozenset(ruled_out or ())


def rule_out(tx: sa.Connection, key: int, provider_batch_ids: Collection[str], *, look_at: datetime) -> None:
    """These provider batches are somebody else's; an adoption of one of them is undone and the search goes on."""
    row = tx.execute(sa.select(provider_batches).where(provider_batches.c.id == key).with_for_update()).one()
    wrong = sorted({*(row.not_ours or ()), *provider_batch_ids})
    values: dict[str, Any] = {"not_ours": wrong}
    if row.status in POLLED and row.provider_batch_id in provider_batch_ids:
        values |= {
            "status": BatchStatus.UNKNOWN,
            "provider_batch_id": None,
            "next_poll_at": look_at,
            "intent_at": look_at,
        }
        if row.status is BatchStatus.ENDED:
            tx.execute(sa.update(jobs).where(jobs.c.id == row.job_id).values(batches_ended=jobs.c.batches_ended - 1))
    tx.execute(sa.update(provider_batches).where(provider_batches.c.id == key).values(**values))


def reject(tx: sa.Connection, key: int, *, error: dict[str, Any], now: datetime, ids: Ids) -> Job | None:
    """The provider refused the batch for good: its items are errored. Returns a job this ended."""
    allowed = {BatchStatus.SUBMITTING, BatchStatus.UNKNOWN}
    job_key = close_batch(tx, key, fill=ItemStatus.ERRORED, code=PROVIDER_REJECTED, now=now, allowed=allowed)
    if job_key is None:
        return None
    tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.id == key)
        .values(error={"code": PROVIDER_REJECTED, **error})
    )
    tx.execute(sa.update(jobs).where(jobs.c.id == job_key, jobs.c.error.is_(None)).values(error=error))
    return settled(tx, job_key, now=now, ids=ids)


def divide(tx: sa.Connection, key: int, second: PlannedBatch, *, first_bytes: int, now: datetime) -> None:
    """The provider found the batch too large: it is planned again as two, of which `second` is the later half."""
    row = tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.id == key, provider_batches.c.status == BatchStatus.SUBMITTING)
        .values(
            status=BatchStatus.PLANNED,
            last_idx=second.first - 1,
            item_count=provider_batches.c.item_count - second.items,
            byte_size=first_bytes,
            next_poll_at=now,
        )
        .returning(provider_batches)
    ).first()
    if row is None:
        return
    copied = {name: getattr(row, name) for name in ("job_id", "organization_id", "provider", "round", "created_at")}
    tx.execute(
        sa.insert(provider_batches).values(
            **copied,
            public_id=second.id,
            status=BatchStatus.PLANNED,
            first_idx=second.first,
            last_idx=second.last,
            item_count=second.items,
            byte_size=second.byte_size,
            nonce=second.nonce,
            next_poll_at=now,
        )
    )
    tx.execute(
        sa.update(jobs)
        .where(jobs.c.id == row.job_id)
        .values(batches_total=jobs.c.batches_total + 1, version=jobs.c.version + 1)
    )


def sizes_of_batch(tx: sa.Connection, batch: ProviderBatch) -> list[int]:
    """Bytes of params of each item of a provider batch, in order."""
    wanted = sa.select(items.c.size).where(
        items.c.job_id == batch.job_key, items.c.idx.between(batch.first_index, batch.last_index)
    )
    return list(tx.execute(wanted.order_by(items.c.idx)).scalars())


# --- by hand -----------------------------------------------------------------------------------------------


def unresolved(tx: sa.Connection) -> list[ProviderBatch]:
    """Batches whose submission nobody could reconcile, or is being reconciled."""
    found = select_batches().where(provider_batches.c.status.in_(UNSETTLED))
    return [batch_of(row) for row in tx.execute(found.order_by(provider_batches.c.id))]


def abandon(tx: sa.Connection, public_id: str, *, now: datetime, ids: Ids) -> Job | None:
    """Give up an unresolved batch: its items are errored. Raises NotFound and Conflict. Returns a job this ended."""
    key = tx.execute(sa.select(provider_batches.c.id).where(provider_batches.c.public_id == public_id)).scalar()
    if key is None:
        raise NotFound("provider batch", public_id)
    job_key = close_batch(tx, key, fill=ItemStatus.ERRORED, code="abandoned", now=now, allowed=UNSETTLED)
    if job_key is None:
        raise Conflict("batch_not_unresolved", "Only an unknown or quarantined batch can be abandoned.")
    return settled(tx, job_key, now=now, ids=ids)


# --- shared ------------------------------------------------------------------------------------------------


def settled(tx: sa.Connection, job_key: int, *, now: datetime, ids: Ids) -> Job | None:
    """Settle a job and tell who waits for it."""
    job = settle_job(tx, job_key, now=now, ids=ids)
    _announce(tx, job_key)
    if job is not None and job.callback_url is not None:
        announce_work(tx)
    return job


def _announce(tx: sa.Connection, job_key: int) -> None:
    announce_jobs(tx, [tx.execute(sa.select(jobs.c.public_id).where(jobs.c.id == job_key)).scalar_one()])


def open_batch_counts(tx: sa.Connection) -> Mapping[str, int]:
    """How many provider batches that are not final there are of each status."""
    counted = sa.select(provider_batches.c.status, sa.func.count()).where(
        provider_batches.c.status.not_in(list(BATCH_FINAL))
    )
    return {str(status): number for status, number in tx.execute(counted.group_by(provider_batches.c.status))}
