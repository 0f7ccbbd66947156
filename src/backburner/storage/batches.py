"""What is asked of provider batches, one function each. All that changes one at the provider's side is the leader's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import sqlalchemy as sa

from backburner.completion import LOOKBACK_EXCEEDED
from backburner.errors import NotFound
from backburner.ids import Ids
from backburner.model import Job, ProviderBatch
from backburner.result_lines import MISSING
from backburner.rounds import stopped
from backburner.states import BatchStatus, ItemStatus
from backburner.storage.agent_requests import requests_of_agents
from backburner.storage.columns import UtcDateTime
from backburner.storage.jobs import set_running, stop_job
from backburner.storage.members import member_sizes
from backburner.storage.notifications import announce_jobs, announce_work
from backburner.storage.rows import batch_of, select_batches
from backburner.storage.settle import close_batch, settle_job
from backburner.storage.statements import bound, sorting
from backburner.storage.tables import is_open, items, jobs, provider_batches, requests

T = TypeVar("T")

#: Statuses whose `next_poll_at` the poller answers.
POLLED = (BatchStatus.SUBMITTED, BatchStatus.ENDED)
#: Statuses of submissions whose outcome is not known.
UNSETTLED = (BatchStatus.UNKNOWN, BatchStatus.QUARANTINED)
_GIVEN = (*POLLED, *UNSETTLED)
#: Longer than a provider keeps results; nothing that could be asked after is older.
RESULTS_KEPT = timedelta(days=30)
LATELY = timedelta(days=1)


def get_batch(tx: sa.Connection, key: int) -> ProviderBatch:
    """One provider batch. Raises NotFound when its job was deleted meanwhile."""
    row = tx.execute(_BATCH, {"key": key}).first()
    if row is None:
        raise NotFound("provider batch", str(key))
    return batch_of(row)


_BATCH = select_batches().where(provider_batches.c.id == sa.bindparam("key"))


def batches_of_job(tx: sa.Connection, job_key: int) -> list[ProviderBatch]:
    """A job's provider batches, by round and then in the order of their items."""
    found = select_batches().where(provider_batches.c.job_id == job_key)
    return [batch_of(row) for row in tx.execute(found.order_by(provider_batches.c.round, provider_batches.c.first_idx))]


# --- polling -----------------------------------------------------------------------------------------------


def due_batches(tx: sa.Connection, provider: str, *, now: datetime, limit: int, above: int = 0) -> list[ProviderBatch]:
    """A provider's batches whose poll is due, by key, from the one after `above` on."""
    rows = tx.execute(_DUE, {"provider_name": provider, "now": now, "above": above, "most": limit})
    return [batch_of(row) for row in rows]


_DUE = (
    select_batches()
    .where(
        is_open(),
        provider_batches.c.provider == sa.bindparam("provider_name"),
        provider_batches.c.status.in_(POLLED),
        provider_batches.c.next_poll_at <= sa.bindparam("now"),
        provider_batches.c.id > sa.bindparam("above"),
    )
    .order_by(sorting(provider_batches.c.id))
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def next_poll_time(
    tx: sa.Connection, provider: str, statuses: Sequence[BatchStatus] = POLLED, *, after: datetime | None = None
) -> datetime | None:
    """The earliest `next_poll_at` (after `after`, if given) of a provider's batches in the given statuses."""
    earliest = _NEXT_POLL if after is None else _NEXT_POLL_AFTER
    return tx.execute(earliest, {"provider_name": provider, "statuses": statuses, "after": after}).scalar()


_NEXT_POLL = sa.select(sa.func.min(provider_batches.c.next_poll_at)).where(
    is_open(),
    provider_batches.c.provider == sa.bindparam("provider_name"),
    provider_batches.c.status.in_(sa.bindparam("statuses", expanding=True)),
)
_NEXT_POLL_AFTER = _NEXT_POLL.where(provider_batches.c.next_poll_at > sa.bindparam("after"))


def hopeless_batches(tx: sa.Connection, *, now: datetime, lookback: timedelta, limit: int) -> list[ProviderBatch]:
    """Batches that are not final and of which nothing is to be hoped for any more.

    Those that are older than the lookback and that the provider has lately said to be at work on; of the others, which
    may have results that nobody has read, those that are older than the provider keeps results as well. Never those
    that the provider denies: what follows from that is decided in `actors/denials.py`.
    """
    given = {
        "old": now - lookback,
        "lately": now - LATELY,
        "older": now - max(lookback, RESULTS_KEPT),
        "most": limit,
    }
    return [batch_of(row) for row in tx.execute(_HOPELESS, given)]


_given_at = sa.func.coalesce(provider_batches.c.submitted_at, provider_batches.c.intent_at)
_HOPELESS = (
    select_batches()
    .where(
        is_open(),
        provider_batches.c.status.in_(_GIVEN),
        provider_batches.c.not_found_since.is_(None),
        _given_at < sa.bindparam("old"),
        sa.or_(
            _given_at < sa.bindparam("older"),
            sa.and_(
                provider_batches.c.status == BatchStatus.SUBMITTED,
                provider_batches.c.last_polled_at > sa.bindparam("lately"),
                provider_batches.c.poll_failures == 0,
            ),
        ),
    )
    .order_by(sorting(provider_batches.c.id))
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def give_up(tx: sa.Connection, key: int, *, now: datetime, ids: Ids) -> Job | None:
    """Expire a batch of which nothing is to be hoped for any more, and its job: what it owes counts as expired.

    Returns a job that this ended.
    """
    job_key = close_batch(tx, key, fill=ItemStatus.EXPIRED, code=LOOKBACK_EXCEEDED, now=now, allowed=_GIVEN)
    if job_key is None:
        return None
    before = tx.execute(sa.select(jobs.c.stopping).where(jobs.c.id == job_key)).scalar_one()
    job = stop_job(tx, job_key, before or LOOKBACK_EXCEEDED, now=now, ids=ids)
    if job is not None and job.callback_url is not None:
        announce_work(tx)
    return job


def lose(tx: sa.Connection, key: int, *, now: datetime, ids: Ids) -> tuple[int | None, Job | None]:
    """The provider does not have a batch any more: what it owes is errored; or ends as the job does, if that is being
    ended. Returns the job's key, None when the batch was final already, and a job that this ended.
    """
    of = sa.select(jobs.c.stopping).join(provider_batches, provider_batches.c.job_id == jobs.c.id)
    stopping = tx.execute(of.where(provider_batches.c.id == key)).scalar()
    fill = ItemStatus.ERRORED if stopping is None else stopped(stopping).status
    code = MISSING if stopping is None else None
    job_key = close_batch(tx, key, fill=fill, code=code, now=now, allowed=POLLED)
    return job_key, None if job_key is None else settled(tx, job_key, now=now, ids=ids)


# --- submitting --------------------------------------------------------------------------------------------


def begin_attempt(
    tx: sa.Connection, key: int, *, epoch: int, now: datetime, provider: str | None = None
) -> ProviderBatch | None:
    """Record the intent to submit, before the provider is called. None when the batch is no longer to be submitted.

    `provider`: whose batch it must still be, since an operator may have moved it to another; None for any.
    """
    started = tx.execute(_BEGIN, {"key": key, "current": epoch, "now": now, "provider_name": provider})
    return get_batch(tx, key) if started.rowcount else None


_BEGIN = (
    sa.update(provider_batches)
    .where(
        provider_batches.c.id == sa.bindparam("key"),
        provider_batches.c.status == BatchStatus.PLANNED,
        provider_batches.c.provider
        == sa.func.coalesce(sa.bindparam("provider_name", type_=sa.String), provider_batches.c.provider),
    )
    .values(
        status=BatchStatus.SUBMITTING,
        attempt=provider_batches.c.attempt + 1,
        epoch=sa.bindparam("current"),
        intent_at=bound("now", provider_batches.c.intent_at),
        next_poll_at=bound("now", provider_batches.c.intent_at),
    )
)


def requests_of_batch(tx: sa.Connection, batch: ProviderBatch, make: Callable[[int, str], T]) -> list[T]:
    """make(index, params) of every item of a provider batch, in order; made here, off the Trio thread."""
    if batch.of_agents:
        return requests_of_agents(tx, batch, make)
    return [make(index, params) for index, params in tx.execute(_REQUESTS, {"key": batch.key})]


_REQUESTS = (
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
    .where(provider_batches.c.id == sa.bindparam("key"))
    .order_by(items.c.idx)
)


def provider_options(tx: sa.Connection, job_key: int) -> Mapping[str, str]:
    """What the job's creator asked to be sent along: API version, betas."""
    return tx.execute(_OPTIONS, {"key": job_key}).scalar_one() or {}


_OPTIONS = sa.select(jobs.c.provider_options).where(jobs.c.id == sa.bindparam("key"))


def attach(
    tx: sa.Connection,
    key: int,
    *,
    provider_batch_id: str,
    status: str,
    response: bytes | None,
    now: datetime,
    next_poll_at: datetime,
    created_at: datetime | None = None,
) -> bool:
    """The provider has the batch. False when it had been settled otherwise meanwhile.

    `response` is its answer to the submission; None when that was lost and the batch was found. `created_at` is by the
    provider's clock.
    """
    given = {
        "key": key,
        "theirs": provider_batch_id,
        "standing": status,
        "response": None if response is None else response.decode(),
        "made": created_at,
        "now": now,
        "due": next_poll_at,
    }
    row = tx.execute(_ATTACH, given).first()
    if row is None:
        return False
    set_running(tx, row.job_id, now=now)
    _announce(tx, row.job_id)
    return True


_ATTACH = (
    sa.update(provider_batches)
    .where(
        provider_batches.c.id == sa.bindparam("key"),
        provider_batches.c.status.in_([BatchStatus.SUBMITTING, BatchStatus.UNKNOWN, BatchStatus.QUARANTINED]),
    )
    .values(
        status=BatchStatus.SUBMITTED,
        provider_batch_id=sa.bindparam("theirs"),
        provider_status=sa.bindparam("standing"),
        create_response=sa.bindparam("response"),
        provider_created_at=sa.bindparam("made", type_=UtcDateTime),
        submitted_at=sa.bindparam("now"),
        next_poll_at=sa.bindparam("due"),
        poll_failures=0,
        error=None,
    )
    .returning(provider_batches.c.job_id)
)


def sizes_of_batch(tx: sa.Connection, batch: ProviderBatch) -> list[tuple[int, int]]:
    """(position, bytes of the request) of each item of a provider batch, in order."""
    if batch.round > 1:
        return member_sizes(tx, batch.key)
    wanted = sa.select(items.c.idx, items.c.size).where(
        items.c.job_id == batch.job_key, items.c.idx.between(batch.first_index, batch.last_index)
    )
    return [(row.idx, row.size) for row in tx.execute(wanted.order_by(items.c.idx))]


# --- shared ------------------------------------------------------------------------------------------------


def settled(tx: sa.Connection, job_key: int, *, now: datetime, ids: Ids) -> Job | None:
    """Settle a job and tell who waits for it."""
    job = settle_job(tx, job_key, now=now, ids=ids)
    _announce(tx, job_key)
    if job is not None and job.callback_url is not None:
        announce_work(tx)
    return job


def _announce(tx: sa.Connection, job_key: int) -> None:
    announce_jobs(tx, [tx.execute(_PUBLIC_ID, {"key": job_key}).scalar_one()])


_PUBLIC_ID = sa.select(jobs.c.public_id).where(jobs.c.id == sa.bindparam("key"))


_OPEN_OF_EACH = (
    sa.select(provider_batches.c.status, sa.func.count()).where(is_open()).group_by(provider_batches.c.status)
)


def open_batch_counts(tx: sa.Connection) -> Mapping[str, int]:
    """How many provider batches that are not final there are of each status."""
    return {str(status): number for status, number in tx.execute(_OPEN_OF_EACH)}
