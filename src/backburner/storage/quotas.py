"""How much one organization may have open, and may send in a day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import product
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.errors import QuotaExceeded, TooLarge
from backburner.states import ACTIVE, JobType
from backburner.storage.tables import jobs, quota_use
from backburner.storage.upsert import insert_new

OPEN_JOBS_RETRY = 10.0  # seconds; when a job will end is not known


@attrs.frozen(kw_only=True)
class Quotas:
    """Of each organization; None means any number."""

    open_jobs: int | None = None
    items_per_day: int | None = None  #: days are those of UTC
    bytes_per_day: int | None = None  #: of requests' params; of jobs without requests, their input

    def __bool__(self) -> bool:
        return any(most is not None for most in attrs.astuple(self))


UNLIMITED = Quotas()


def check_room(tx: sa.Connection, quotas: Quotas, organization_key: int, *, now: datetime) -> None:
    """Raises QuotaExceeded when not even a job of one item has room. Another may take the room meanwhile."""
    _check_open_jobs(tx, quotas, organization_key)
    _check_day(tx, quotas, organization_key, items=1, size=1, now=now)


def take_room(
    tx: sa.Connection, quotas: Quotas, organization_key: int, *, items: int, size: int, now: datetime
) -> None:
    """Count a new job of so many items and bytes, in the transaction that makes it.

    Raises QuotaExceeded, and TooLarge for a job that no day has room for.

    Transactions of one organization wait here for each other, so that no two take the same room.
    """
    if not quotas:
        return
    day = _day(now)
    insert_new(
        tx,
        quota_use,
        {"organization_id": organization_key, "day": day, "submitted": 0, "submitted_bytes": 0},
        unique=("organization_id", "day"),
    )
    mine = (quota_use.c.organization_id == organization_key, quota_use.c.day == day)
    tx.execute(sa.select(quota_use.c.id).where(*mine).with_for_update())
    _check_open_jobs(tx, quotas, organization_key)
    _check_day(tx, quotas, organization_key, items=items, size=size, now=now)
    counted = {"submitted": quota_use.c.submitted + items, "submitted_bytes": quota_use.c.submitted_bytes + size}
    tx.execute(sa.update(quota_use).where(*mine).values(**counted))
    tx.execute(sa.delete(quota_use).where(quota_use.c.organization_id == organization_key, quota_use.c.day < day))


def _check_open_jobs(tx: sa.Connection, quotas: Quotas, organization_key: int) -> None:
    most = quotas.open_jobs
    if most is None:
        return
    mine = sa.union_all(*(sa.select(one.subquery()) for one in _open_jobs(organization_key, most))).limit(most)
    found = tx.execute(sa.select(sa.func.count()).select_from(mine.subquery())).scalar_one()
    if found >= most:
        raise QuotaExceeded(
            "quota_open_jobs",
            f"The organization has {most:,} open jobs, which is its quota; wait until one ends.",
            retry_after=OPEN_JOBS_RETRY,
        )


def _open_jobs(organization_key: int, most: int) -> Iterator[sa.Select[Any]]:
    """One short range of the index for each type and status; the order, so that no planner takes anything else."""
    for job_type, status in product(JobType, sorted(ACTIVE)):
        mine = jobs.c.organization_id == organization_key, jobs.c.job_type == job_type, jobs.c.status == status
        yield sa.select(jobs.c.id).where(*mine).order_by(jobs.c.public_id).limit(most)


def _check_day(
    tx: sa.Connection, quotas: Quotas, organization_key: int, *, items: int, size: int, now: datetime
) -> None:
    most, most_bytes = quotas.items_per_day, quotas.bytes_per_day
    if most is None and most_bytes is None:
        return
    mine = (quota_use.c.organization_id == organization_key, quota_use.c.day == _day(now))
    row = tx.execute(sa.select(quota_use.c.submitted, quota_use.c.submitted_bytes).where(*mine)).first()
    used, used_bytes = (0, 0) if row is None else row
    if most is not None and used + items > most:
        raise _used_up("quota_items_per_day", "items", most, used, now)
    if most_bytes is not None and size > most_bytes > 0:
        raise TooLarge(f"The job has {size:,} bytes; all that the organization sends in a day may have {most_bytes:,}.")
    if most_bytes is not None and used_bytes + size > most_bytes:
        raise _used_up("quota_bytes_per_day", "bytes", most_bytes, used_bytes, now)


def _used_up(code: str, what: str, most: int, used: int, now: datetime) -> QuotaExceeded:
    return QuotaExceeded(
        code,
        f"The organization may submit {most:,} {what} in a day (UTC) and has submitted {used:,}.",
        retry_after=(_next_day(now) - now).total_seconds(),
    )


def _day(now: datetime) -> str:
    return now.astimezone(UTC).date().isoformat()


def _next_day(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
