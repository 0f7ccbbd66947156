"""Batches of a provider that is not configured any more: nobody submits or looks at them, until a person decides."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import attrs
import sqlalchemy as sa

from backburner.errors import NotFound
from backburner.ids import Ids
from backburner.model import Job
from backburner.states import BatchStatus, ItemStatus
from backburner.storage.batches import settled
from backburner.storage.notifications import announce_work
from backburner.storage.settle import close_batch
from backburner.storage.tables import is_active, is_open, jobs, provider_batches

ABSENT = "provider_absent"
AT_ONCE = 500  # batches that are ended in one transaction
#: Those that the provider has, or may have.
GIVEN = (
    BatchStatus.SUBMITTING,
    BatchStatus.UNKNOWN,
    BatchStatus.QUARANTINED,
    BatchStatus.SUBMITTED,
    BatchStatus.ENDED,
)


@attrs.frozen(kw_only=True)
class Decided:
    """What was decided about a provider's batches, and about how many of them."""

    provider: str
    batches: int
    moved_to: str | None = None
    has_more: bool = False
    ended_jobs: tuple[Job, ...] = ()


def absent_providers(tx: sa.Connection, configured: Collection[str]) -> dict[str, int]:
    """Providers that are not configured and have open batches here, by name, and how many."""
    counts = {name: int(number) for name, number in tx.execute(_OPEN_OF_EACH)}
    return {name: number for name, number in sorted(counts.items()) if name not in configured}


_OPEN_OF_EACH = (
    sa.select(provider_batches.c.provider, sa.func.count()).where(is_open()).group_by(provider_batches.c.provider)
)


def _require_any(tx: sa.Connection, provider: str) -> None:
    found = sa.select(provider_batches.c.id).where(is_open(), provider_batches.c.provider == provider)
    if tx.execute(found.limit(1)).first() is None:
        raise NotFound("provider of open batches", provider)


def move_planned(tx: sa.Connection, provider: str, to: str, *, now: datetime) -> Decided:
    """Have another provider be sent what was planned for this one; further rounds of its agents go there as well.

    Raises NotFound when nothing open is this provider's.
    """
    _require_any(tx, provider)
    moved = tx.execute(
        sa.update(provider_batches)
        .where(is_open(), provider_batches.c.provider == provider, provider_batches.c.status == BatchStatus.PLANNED)
        .values(provider=to, next_poll_at=now, error=None)
    )
    tx.execute(sa.update(jobs).where(is_active(), jobs.c.provider == provider).values(provider=to))
    announce_work(tx)
    return Decided(provider=provider, moved_to=to, batches=moved.rowcount)


def end_batches(tx: sa.Connection, provider: str, *, at_provider: bool, now: datetime, ids: Ids) -> Decided:
    """End what was planned for a provider: its items are errored. Up to AT_ONCE batches; there may be more.

    `at_provider`: also what the provider has or may have, of which nothing more will be read. Raises NotFound when
    nothing open is this provider's.
    """
    _require_any(tx, provider)
    allowed = (BatchStatus.PLANNED, *(GIVEN if at_provider else ()))
    found = sa.select(provider_batches.c.id).where(
        is_open(), provider_batches.c.provider == provider, provider_batches.c.status.in_(allowed)
    )
    keys = list(tx.execute(found.order_by(provider_batches.c.id).limit(AT_ONCE + 1)).scalars())
    closed = [
        close_batch(tx, key, fill=ItemStatus.ERRORED, code=ABSENT, now=now, allowed=allowed) for key in keys[:AT_ONCE]
    ]
    of_jobs = sorted({job_key for job_key in closed if job_key is not None})
    ended = [job for job_key in of_jobs if (job := settled(tx, job_key, now=now, ids=ids)) is not None]
    done = sum(job_key is not None for job_key in closed)
    return Decided(provider=provider, batches=done, has_more=len(keys) > AT_ONCE, ended_jobs=tuple(ended))
