"""Lists of jobs by every filter: one statement each, on an index, however many jobs there are.

The page's ids are picked first, from an index alone where that is possible; only the picked jobs are then read whole.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.model import Job
from backburner.states import JobStatus, JobType
from backburner.storage.rows import job_of, select_jobs
from backburner.storage.tables import job_metadata, jobs, organizations, users

#: How far the time in a job's id may be from its `created_at`: both are read in the same breath.
ID_SLACK = timedelta(minutes=1)


@attrs.frozen(kw_only=True)
class JobFilter:
    """Which jobs a list shows; None means any."""

    statuses: Collection[JobStatus] | None = None
    job_type: JobType | None = None
    agent_id: str | None = None
    organization_id: str | None = None
    user_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict)  #: every member has to be equal; see `sought`


@attrs.frozen(kw_only=True)
class _Part:
    """Which part of the list, in the direction in which it is read."""

    limit: int
    after: str | None
    before: str | None
    ascending: bool

    @property
    def forward(self) -> bool:
        return self.ascending == (self.before is None)

    def bounds(self, column: sa.ColumnElement[str]) -> list[sa.ColumnElement[bool]]:
        low, high = (self.after, self.before) if self.ascending else (self.before, self.after)
        return [*([] if low is None else [column > low]), *([] if high is None else [column < high])]

    def cut(self, query: sa.Select[Any], column: sa.ColumnElement[str]) -> sa.Select[Any]:
        return query.order_by(column if self.forward else column.desc()).limit(self.limit + 1)


def list_jobs(
    tx: sa.Connection,
    organization_key: int | None,
    chosen: JobFilter,
    *,
    limit: int,
    after: str | None,
    before: str | None,
    ascending: bool,
) -> tuple[list[Job], bool]:
    """Up to `limit` jobs by creation, and whether there are more in the direction of travel.

    `after` and `before` are ids of jobs, which need not exist any more: ids sort by time of creation. `after` means
    further along in the chosen order.
    """
    part = _Part(limit=limit, after=after, before=before, ascending=ascending)
    found = [job_of(row) for row in tx.execute(listing(organization_key, chosen, part))]
    page = found[:limit]
    return (page if before is None else page[::-1]), len(found) > limit


def listing(organization_key: int | None, chosen: JobFilter, part: _Part) -> sa.Select[Any]:
    """The statement: the jobs of one page and one more."""
    picked = _picked(organization_key, chosen, part).subquery("picked")
    query = select_jobs().join(picked, picked.c.public_id == jobs.c.public_id)
    return query.order_by(picked.c.public_id if part.forward else picked.c.public_id.desc())


def _picked(organization_key: int | None, chosen: JobFilter, part: _Part) -> sa.Select[Any]:
    owner = _owner(organization_key, chosen)
    if chosen.metadata:
        return _by_metadata(owner, chosen, part)
    if chosen.agent_id is not None:
        return _by_one(owner, chosen, part, jobs.c.agent_id == chosen.agent_id)
    if chosen.user_id is not None:
        return _by_one(owner, chosen, part, jobs.c.user_id == _key_of(users, chosen.user_id))
    if chosen.statuses is not None or chosen.job_type is not None:
        return _by_state(owner, chosen, part)
    return _by_one(owner, chosen, part)


def _owner(organization_key: int | None, chosen: JobFilter) -> list[sa.ColumnElement[Any]]:
    """The keys that a job's organization has to be equal to."""
    keys: list[sa.ColumnElement[Any]] = [] if organization_key is None else [sa.literal(organization_key)]
    if chosen.organization_id is not None:
        keys.append(_key_of(organizations, chosen.organization_id))
    return keys


def _key_of(table: sa.Table, public_id: str) -> sa.ScalarSelect[Any]:
    return sa.select(table.c.id).where(table.c.public_id == public_id).scalar_subquery()


def _by_one(
    owner: list[sa.ColumnElement[Any]], chosen: JobFilter, part: _Part, *driving: sa.ColumnElement[bool]
) -> sa.Select[Any]:
    """In the order of the index on what drives the query; the rest is looked at row by row."""
    owned = [jobs.c.organization_id == key for key in owner]
    query = sa.select(jobs.c.public_id).where(*driving, *owned, *_rest(chosen), *_created(chosen, jobs.c.public_id))
    return part.cut(query.where(*part.bounds(jobs.c.public_id)), jobs.c.public_id)


def _by_metadata(owner: list[sa.ColumnElement[Any]], chosen: JobFilter, part: _Part) -> sa.Select[Any]:
    (name, value), *others = chosen.metadata.items()
    found = job_metadata.alias("found")
    query = (
        sa.select(found.c.job_public_id.label("public_id"))
        .select_from(found.join(jobs, jobs.c.id == found.c.job_id))
        .where(found.c.name == name, found.c.value == value, *(found.c.organization_id == key for key in owner))
        .where(*(_has(*other) for other in others), *_rest(chosen), *_created(chosen, found.c.job_public_id))
    )
    return part.cut(query.where(*part.bounds(found.c.job_public_id)), found.c.job_public_id)


def _has(name: str, value: str) -> sa.ColumnElement[bool]:
    same = (job_metadata.c.job_id == jobs.c.id, job_metadata.c.name == name, job_metadata.c.value == value)
    return sa.exists().where(*same)


def _rest(chosen: JobFilter) -> list[sa.ColumnElement[bool]]:
    """What no index decides. Inside `coalesce`, so that no planner takes an index on it for the better one."""
    found: list[sa.ColumnElement[bool]] = []
    if chosen.statuses is not None:
        found.append(sa.func.coalesce(jobs.c.status, "").in_([status.value for status in chosen.statuses]))
    if chosen.job_type is not None:
        found.append(sa.func.coalesce(jobs.c.job_type, "") == chosen.job_type.value)
    if chosen.agent_id is not None and chosen.metadata:
        found.append(sa.func.coalesce(jobs.c.agent_id, "") == chosen.agent_id)
    if chosen.user_id is not None and (chosen.metadata or chosen.agent_id is not None):
        found.append(sa.func.coalesce(jobs.c.user_id, 0) == _key_of(users, chosen.user_id))
    return found


def _by_state(owner: list[sa.ColumnElement[Any]], chosen: JobFilter, part: _Part) -> sa.Select[Any]:
    """One short range of the index for each type and status, merged."""
    types = [*JobType] if chosen.job_type is None else [chosen.job_type]
    statuses = [*JobStatus] if chosen.statuses is None else sorted(set(chosen.statuses))
    shared = [
        *(jobs.c.organization_id == key for key in owner),
        *_created(chosen, jobs.c.public_id),
        *part.bounds(jobs.c.public_id),
    ]
    ranges = [
        sa.select(
            part.cut(
                sa.select(jobs.c.public_id).where(jobs.c.job_type == job_type, jobs.c.status == status, *shared),
                jobs.c.public_id,
            ).subquery()
        )
        for job_type, status in product(types, statuses)
    ]
    merged = sa.union_all(*ranges).subquery("merged")
    return part.cut(sa.select(merged.c.public_id), merged.c.public_id)


def _created(chosen: JobFilter, public_id: sa.ColumnElement[str]) -> list[sa.ColumnElement[bool]]:
    """Exact by `created_at`; the id, which begins with the time, narrows the range of the index."""
    found: list[sa.ColumnElement[bool]] = []
    if chosen.created_after is not None:
        found += [jobs.c.created_at > chosen.created_after, public_id > _id_at(chosen.created_after, -ID_SLACK)]
    if chosen.created_before is not None:
        found += [jobs.c.created_at < chosen.created_before, public_id < _id_at(chosen.created_before, ID_SLACK)]
    return found


def _id_at(moment: datetime, slack: timedelta) -> str:
    milliseconds = int((moment.timestamp() + slack.total_seconds()) * 1000)
    return f"job-{uuid.UUID(int=max(0, min(milliseconds, (1 << 48) - 1)) << 80)}"
