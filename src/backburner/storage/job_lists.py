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
from backburner.states import ACTIVE, JobStatus, JobType
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
class Part:
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
    part = Part(limit=limit, after=after, before=before, ascending=ascending)
    scope = _scope(tx, organization_key, chosen)
    found = [] if scope is None else [job_of(row) for row in tx.execute(listing(scope, chosen, part))]
    page = found[:limit]
    return (page if before is None else page[::-1]), len(found) > limit


@attrs.frozen(kw_only=True)
class Scope:
    """Whose jobs, by key; None means anybody's."""

    organization: int | None = None
    user: int | None = None

    def owns(self, column: sa.ColumnElement[int]) -> list[sa.ColumnElement[bool]]:
        return [] if self.organization is None else [column == self.organization]


def _scope(tx: sa.Connection, organization_key: int | None, chosen: JobFilter) -> Scope | None:
    """None when nothing can match. Only an operator's filters are looked up: PostgreSQL knows how many jobs a known
    organization has, and of one that a subquery finds it guesses."""
    if chosen.statuses is not None and not chosen.statuses:
        return None
    user = organization = None
    if chosen.user_id is not None:
        user = tx.execute(sa.select(users.c.id).where(users.c.public_id == chosen.user_id)).scalar()
        if user is None:
            return None
    if chosen.organization_id is not None:
        asked = sa.select(organizations.c.id).where(organizations.c.public_id == chosen.organization_id)
        organization = tx.execute(asked).scalar()
        if organization is None or organization_key not in (None, organization):
            return None
    return Scope(organization=organization_key or organization, user=user)


def listing(scope: Scope, chosen: JobFilter, part: Part) -> sa.Select[Any]:
    """The statement: the jobs of one page and one more."""
    picked = _picked(scope, chosen, part).subquery("picked")
    query = select_jobs().join(picked, picked.c.public_id == jobs.c.public_id)
    return query.order_by(picked.c.public_id if part.forward else picked.c.public_id.desc())


def _picked(scope: Scope, chosen: JobFilter, part: Part) -> sa.Select[Any]:
    # Few jobs are active, whatever their metadata say.
    is_active = chosen.statuses is not None and set(chosen.statuses) <= ACTIVE
    if chosen.metadata and not is_active:
        return _by_metadata(scope, chosen, part)
    if chosen.agent_id is not None:
        return _by_one(scope, chosen, part, jobs.c.agent_id == chosen.agent_id)
    if scope.user is not None:
        return _by_one(scope, chosen, part, jobs.c.user_id == scope.user)
    if chosen.statuses is not None or chosen.job_type is not None:
        return _by_state(scope, chosen, part)
    return _by_one(scope, chosen, part)


def _by_one(scope: Scope, chosen: JobFilter, part: Part, *driving: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """In the order of the index on what drives the query; the rest is looked at row by row."""
    rest = (*_rest(scope, chosen), *_has_all(chosen.metadata), *_created(chosen, jobs.c.public_id))
    query = sa.select(jobs.c.public_id).where(*driving, *scope.owns(jobs.c.organization_id), *rest)
    return part.cut(query.where(*part.bounds(jobs.c.public_id)), jobs.c.public_id)


def _by_metadata(scope: Scope, chosen: JobFilter, part: Part) -> sa.Select[Any]:
    (name, value), *others = chosen.metadata.items()
    found = job_metadata.alias("found")
    rest = (*_rest(scope, chosen), *_has_all(dict(others)), *_created(chosen, found.c.job_public_id))
    query = (
        sa.select(found.c.job_public_id.label("public_id"))
        .select_from(found.join(jobs, jobs.c.id == found.c.job_id))
        .where(found.c.name == name, found.c.value == value, *scope.owns(found.c.organization_id), *rest)
    )
    return part.cut(query.where(*part.bounds(found.c.job_public_id)), found.c.job_public_id)


def _has_all(metadata: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    other = job_metadata.alias("other")
    return [
        sa.exists().where(other.c.job_id == jobs.c.id, other.c.name == name, other.c.value == value)
        for name, value in metadata.items()
    ]


def _rest(scope: Scope, chosen: JobFilter) -> list[sa.ColumnElement[bool]]:
    """What no index decides. Inside `coalesce`, so that no planner takes an index on it for the better one."""
    found: list[sa.ColumnElement[bool]] = []
    if chosen.statuses is not None:
        found.append(sa.func.coalesce(jobs.c.status, "").in_([status.value for status in chosen.statuses]))
    if chosen.job_type is not None:
        found.append(sa.func.coalesce(jobs.c.job_type, "") == chosen.job_type.value)
    if chosen.agent_id is not None:
        found.append(sa.func.coalesce(jobs.c.agent_id, "") == chosen.agent_id)
    if scope.user is not None:
        found.append(sa.func.coalesce(jobs.c.user_id, 0) == scope.user)
    return found


def _by_state(scope: Scope, chosen: JobFilter, part: Part) -> sa.Select[Any]:
    """One short range of the index for each type and status, merged."""
    types = [*JobType] if chosen.job_type is None else [chosen.job_type]
    statuses = [*JobStatus] if chosen.statuses is None else sorted(set(chosen.statuses))
    shared = (
        *scope.owns(jobs.c.organization_id),
        *_has_all(chosen.metadata),
        *_created(chosen, jobs.c.public_id),
        *part.bounds(jobs.c.public_id),
    )
    states = [(jobs.c.job_type == job_type, jobs.c.status == status) for job_type, status in product(types, statuses)]
    ranges = [part.cut(sa.select(jobs.c.public_id).where(*state, *shared), jobs.c.public_id) for state in states]
    merged = sa.union_all(*(sa.select(one.subquery()) for one in ranges)).subquery("merged")
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
