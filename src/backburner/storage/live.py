"""What live streams ask of the database: which jobs changed, and how they are now."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from backburner.model import Job
from backburner.storage.rows import job_of, select_jobs
from backburner.storage.tables import api_keys, jobs

_IN_ONE_QUERY = 500  # ids


def jobs_named(tx: sa.Connection, public_ids: Collection[str]) -> list[Job]:
    """Those of the jobs that exist, in order of their ids."""
    found = select_jobs().where(jobs.c.public_id.in_(sorted(public_ids))).order_by(jobs.c.public_id)
    return [job_of(row) for row in tx.execute(found)]


def versions_of(tx: sa.Connection, public_ids: Collection[str]) -> dict[str, int]:
    """Id → version of those of the jobs that exist."""
    named, found = sorted(public_ids), {}
    for start in range(0, len(named), _IN_ONE_QUERY):
        some = jobs.c.public_id.in_(named[start : start + _IN_ONE_QUERY])
        found.update(_versions(tx, some))
    return found


def versions_since(tx: sa.Connection, organization_key: int, since: datetime) -> dict[str, int]:
    """Id → version of an organization's jobs that were last changed at `since` or later."""
    return _versions(tx, jobs.c.organization_id == organization_key, jobs.c.updated_at >= since)


def _versions(tx: sa.Connection, *conditions: sa.ColumnElement[bool]) -> dict[str, int]:
    found = sa.select(jobs.c.public_id, jobs.c.version).where(*conditions)
    return {row.public_id: row.version for row in tx.execute(found)}


def changed_after(tx: sa.Connection, organization_key: int, at: datetime, public_id: str, *, limit: int) -> list[Job]:
    """Up to `limit` jobs of an organization by time of last change, behind `at` and, at that time, `public_id`."""
    behind = sa.tuple_(jobs.c.updated_at, jobs.c.public_id) > sa.tuple_(
        sa.literal(at, jobs.c.updated_at.type), sa.literal(public_id, sa.Text)
    )
    found = select_jobs().where(jobs.c.organization_id == organization_key, behind)
    ordered = found.order_by(jobs.c.updated_at, jobs.c.public_id).limit(limit)
    return [job_of(row) for row in tx.execute(ordered)]


def usable_keys(tx: sa.Connection, public_ids: Collection[str], *, now: datetime) -> set[str]:
    """Those of the API keys that are neither revoked nor expired."""
    usable = sa.select(api_keys.c.public_id).where(
        api_keys.c.public_id.in_(sorted(public_ids)),
        api_keys.c.revoked_at.is_(None),
        sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
    )
    return set(tx.execute(usable).scalars())
