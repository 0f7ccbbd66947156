"""What is made of submissions that the provider did not simply accept, one function each. All are the leader's."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backburner.completion import PROVIDER_REJECTED
from backburner.ids import Ids
from backburner.model import Job
from backburner.rounds import stopped
from backburner.states import BatchStatus, ItemStatus
from backburner.storage.batches import POLLED, UNSETTLED, settled
from backburner.storage.settle import close_batch
from backburner.storage.statements import sorting
from backburner.storage.tables import is_open, is_undecided, jobs, provider_batches

IN_ONE_QUERY = 500


def postpone(tx: sa.Connection, key: int, *, until: datetime, error: Any, now: datetime, ids: Ids) -> None:
    """Nothing was made at the provider: back to planned, or closed if the job is being ended."""
    row = tx.execute(
        sa.update(provider_batches)
        .where(
            provider_batches.c.id == key,
            provider_batches.c.status.in_([BatchStatus.SUBMITTING, *UNSETTLED]),
        )
        .values(status=BatchStatus.PLANNED, next_poll_at=until, error=error)
        .returning(provider_batches.c.job_id)
    ).first()
    if row is not None:
        drop_if_stopping(tx, row.job_id, [key], now=now, ids=ids)


def hold_back(tx: sa.Connection, key: int, *, until: datetime, error: Any) -> None:
    """A planned batch is not sent for now."""
    tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.id == key, provider_batches.c.status == BatchStatus.PLANNED)
        .values(next_poll_at=until, error=error)
    )


def drop_if_stopping(tx: sa.Connection, job_key: int, keys: Collection[int], *, now: datetime, ids: Ids) -> None:
    """Close planned batches if their job is being ended."""
    stopping = tx.execute(sa.select(jobs.c.stopping).where(jobs.c.id == job_key).with_for_update()).scalar_one()
    if stopping is None:
        return
    for key in keys:
        close_batch(tx, key, fill=stopped(stopping).status, code=None, now=now, allowed={BatchStatus.PLANNED})
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
    """Only a person can tell what became of this submission, unless it becomes clear after all."""
    tx.execute(
        sa.update(provider_batches)
        .where(provider_batches.c.id == key, provider_batches.c.status.in_([BatchStatus.SUBMITTING, *UNSETTLED]))
        .values(status=BatchStatus.QUARANTINED, next_poll_at=look_at, error=error)
    )


def unsettled_submissions(tx: sa.Connection, provider: str, *, now: datetime) -> list[int]:
    """A provider's submissions to look for now: those under way, and those whose next look is due.

    To be asked while nothing is being submitted: what is under way then was left so by a crash, an earlier term or
    a database that was away.
    """
    return list(tx.execute(_UNSETTLED, {"provider_name": provider, "now": now}).scalars())


_LOOK_IS_DUE = sa.and_(provider_batches.c.status.in_(UNSETTLED), provider_batches.c.next_poll_at <= sa.bindparam("now"))
_UNSETTLED = (
    sa.select(provider_batches.c.id)
    .where(
        is_undecided(),
        provider_batches.c.provider == sa.bindparam("provider_name"),
        sa.or_(_LOOK_IS_DUE, provider_batches.c.status == BatchStatus.SUBMITTING),
    )
    .order_by(sorting(provider_batches.c.id))
)


def not_candidates(tx: sa.Connection, key: int, found: Collection[str]) -> frozenset[str]:
    """Those of the provider batches `found` that a lost submission cannot have made: known here, or ruled out."""
    row = tx.execute(
        sa.select(provider_batches.c.provider, provider_batches.c.not_ours).where(provider_batches.c.id == key)
    ).one()
    sought, known = sorted(found), set(row.not_ours or ()).intersection(found)
    for start in range(0, len(sought), IN_ONE_QUERY):
        some = {"provider_name": row.provider, "names": sought[start : start + IN_ONE_QUERY]}
        known.update(tx.execute(_KNOWN, some).scalars())
    return frozenset(known)


_KNOWN = sa.select(provider_batches.c.provider_batch_id).where(
    provider_batches.c.provider == sa.bindparam("provider_name"),
    provider_batches.c.provider_batch_id.in_(sa.bindparam("names", expanding=True)),
)


def rival_nonces(tx: sa.Connection, key: int) -> frozenset[str]:
    """Nonces of the provider's other submissions of the same size whose outcome is not known.

    There are some when the database was put back to an older state, and beside what waits for a person.
    """
    other = provider_batches.alias("other")
    rivals = sa.select(other.c.nonce).where(
        provider_batches.c.id == key,
        other.c.id != key,
        other.c.provider == provider_batches.c.provider,
        other.c.item_count == provider_batches.c.item_count,
        is_undecided(other),
    )
    return frozenset(tx.execute(rivals).scalars())


def may_be_taken(tx: sa.Connection, key: int) -> bool:
    """Whether another submission of the same size has a provider batch that may be this one's.

    Its results have not shown yet whose it is; and something has been mistaken already: an operator has given it to the
    other one, or this one had been given what was not its own.
    """
    other = provider_batches.alias("other")
    taken = sa.select(other.c.id).where(
        provider_batches.c.id == key,
        other.c.provider == provider_batches.c.provider,
        other.c.item_count == provider_batches.c.item_count,
        is_open(other),
        other.c.status.in_(POLLED),
        other.c.create_response.is_(None),
        sa.or_(other.c.by_hand, provider_batches.c.not_ours.is_not(None)),
        other.c.succeeded + other.c.errored + other.c.canceled + other.c.expired == 0,
    )
    return tx.execute(taken.limit(1)).first() is not None


def rule_out(tx: sa.Connection, key: int, provider_batch_ids: Collection[str], *, look_at: datetime) -> None:
    """These provider batches are somebody else's; an adoption of one of them is undone and the search goes on."""
    row = tx.execute(sa.select(provider_batches).where(provider_batches.c.id == key).with_for_update()).one()
    wrong = sorted({*(row.not_ours or ()), *provider_batch_ids})
    values: dict[str, Any] = {"not_ours": wrong}
    if row.status in POLLED and row.provider_batch_id in provider_batch_ids:
        values |= {
            "status": BatchStatus.UNKNOWN,
            "provider_batch_id": None,
            "provider_status": None,
            "provider_created_at": None,
            "not_found_since": None,
            "submitted_at": None,
            "by_hand": False,
            "ended_at": None,
            "cancel_sent_at": None,
            "poll_failures": 0,
            "reads": 0,
            "next_poll_at": look_at,
        }
        if row.status is BatchStatus.ENDED:
            tx.execute(sa.update(jobs).where(jobs.c.id == row.job_id).values(batches_ended=jobs.c.batches_ended - 1))
    tx.execute(sa.update(provider_batches).where(provider_batches.c.id == key).values(**values))


def reject(tx: sa.Connection, *keys: int, error: dict[str, Any], now: datetime, ids: Ids) -> Job | None:
    """The provider refused these batches of one job for good: their items are errored. Returns a job this ended."""
    allowed = {BatchStatus.PLANNED, BatchStatus.SUBMITTING, BatchStatus.UNKNOWN}
    kept = {**error, "code": PROVIDER_REJECTED, "provider_code": error.get("code")}
    job_key = None
    for key in keys:
        closed = close_batch(tx, key, fill=ItemStatus.ERRORED, code=PROVIDER_REJECTED, now=now, allowed=allowed)
        if closed is not None:
            tx.execute(sa.update(provider_batches).where(provider_batches.c.id == key).values(error=kept))
            job_key = closed
    if job_key is None:
        return None
    tx.execute(sa.update(jobs).where(jobs.c.id == job_key, jobs.c.error.is_(None)).values(error=kept))
    return settled(tx, job_key, now=now, ids=ids)
