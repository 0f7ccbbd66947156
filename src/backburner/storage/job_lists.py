"""Lists of jobs by every filter: one statement each, on an index, however many jobs there are.

The page's ids are picked first, from an index alone where that is possible; only the picked jobs are then read whole.
A statement is built once for each shape of question, because building one takes longer than running it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import product
from typing import Any

import attrs
import sqlalchemy as sa

from backburner.model import Job
from backburner.states import ACTIVE, JobStatus, JobType
from backburner.storage.rows import job_of, select_jobs
from backburner.storage.statements import bound
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

    @property
    def bounds(self) -> dict[str, str | None]:
        """The ids between which it is, themselves left out; None means that it is open there."""
        return dict(zip(("low", "high"), (self.after, self.before)[:: 1 if self.ascending else -1], strict=True))


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
    found = [] if scope is None else [job_of(row) for row in tx.execute(*listing(scope, chosen, part))]
    page = found[:limit]
    return (page if before is None else page[::-1]), len(found) > limit


@attrs.frozen(kw_only=True)
class Scope:
    """Whose jobs, by key; None means anybody's."""

    organization: int | None = None
    user: int | None = None


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


@attrs.frozen(kw_only=True)
class Shape:
    """All that a list's statement depends on."""

    given: frozenset[str]  #: names of the values that it is run with
    statuses: tuple[JobStatus, ...] | None
    job_type: JobType | None
    members: int  #: of metadata
    forward: bool

    def when(self, name: str, condition: sa.ColumnElement[bool]) -> list[sa.ColumnElement[bool]]:
        """The condition, if its value is given."""
        return [condition] if name in self.given else []

    def owns(self, column: sa.ColumnElement[int]) -> list[sa.ColumnElement[bool]]:
        return self.when("organization", column == bound("organization", column))

    def bounds(self, column: sa.ColumnElement[str]) -> list[sa.ColumnElement[bool]]:
        low, high = column > bound("low", column), column < bound("high", column)
        return [*self.when("low", low), *self.when("high", high)]

    def cut(self, query: sa.Select[Any], column: sa.ColumnElement[str]) -> sa.Select[Any]:
        return query.order_by(column if self.forward else column.desc()).limit(bound("most", jobs.c.id))


def listing(scope: Scope, chosen: JobFilter, part: Part) -> tuple[sa.Select[Any], dict[str, Any]]:
    """The statement for the jobs of one page and one more, and the values to run it with."""
    values = {name: value for name, value in _values(scope, chosen, part).items() if value is not None}
    shape = Shape(
        given=frozenset(values),
        statuses=None if chosen.statuses is None else tuple(sorted(set(chosen.statuses))),
        job_type=chosen.job_type,
        members=len(chosen.metadata),
        forward=part.forward,
    )
    return _listing(shape), values


def _values(scope: Scope, chosen: JobFilter, part: Part) -> dict[str, Any]:
    after, before = chosen.created_after, chosen.created_before
    values: dict[str, Any] = {
        "organization": scope.organization,
        "user": scope.user,
        "agent": chosen.agent_id,
        "created_after": after,
        "created_before": before,
        "oldest": None if after is None else _id_at(after, -ID_SLACK),
        "newest": None if before is None else _id_at(before, ID_SLACK),
        "most": part.limit + 1,
    }
    for number, (name, value) in enumerate(chosen.metadata.items()):
        values |= {f"name_{number}": name, f"value_{number}": value}
    return values | part.bounds


def _id_at(moment: datetime, slack: timedelta) -> str:
    milliseconds = int((moment.timestamp() + slack.total_seconds()) * 1000)
    return f"job-{uuid.UUID(int=max(0, min(milliseconds, (1 << 48) - 1)) << 80)}"


@lru_cache(maxsize=512)
def _listing(shape: Shape) -> sa.Select[Any]:
    picked = _picked(shape).subquery("picked")
    query = select_jobs().join(picked, picked.c.public_id == jobs.c.public_id)
    return query.order_by(picked.c.public_id if shape.forward else picked.c.public_id.desc())


def _picked(shape: Shape) -> sa.Select[Any]:
    # Few jobs are active, whatever their metadata say.
    is_active = shape.statuses is not None and set(shape.statuses) <= ACTIVE
    if shape.members and not is_active:
        return _by_metadata(shape)
    if "agent" in shape.given:
        return _by_one(shape, jobs.c.agent_id == bound("agent", jobs.c.agent_id))
    if "user" in shape.given:
        return _by_one(shape, jobs.c.user_id == bound("user", jobs.c.user_id))
    if shape.statuses is not None or shape.job_type is not None:
        return _by_state(shape)
    return _by_one(shape)


def _by_one(shape: Shape, *driving: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """In the order of the index on what drives the query; the rest is looked at row by row."""
    rest = (*_rest(shape), *_has_members(range(shape.members)), *_created(shape, jobs.c.public_id))
    query = sa.select(jobs.c.public_id).where(*driving, *shape.owns(jobs.c.organization_id), *rest)
    return shape.cut(query.where(*shape.bounds(jobs.c.public_id)), jobs.c.public_id)


def _by_metadata(shape: Shape) -> sa.Select[Any]:
    found = job_metadata.alias("found")
    rest = (*_rest(shape), *_has_members(range(1, shape.members)), *_created(shape, found.c.job_public_id))
    query = (
        sa.select(found.c.job_public_id.label("public_id"))
        .select_from(found.join(jobs, jobs.c.id == found.c.job_id))
        .where(*_is_member(found, 0), *shape.owns(found.c.organization_id), *rest)
    )
    return shape.cut(query.where(*shape.bounds(found.c.job_public_id)), found.c.job_public_id)


def _is_member(row: Any, number: int) -> tuple[sa.ColumnElement[bool], ...]:
    columns = (("name", row.c.name), ("value", row.c.value))
    return tuple(column == bound(f"{kind}_{number}", column) for kind, column in columns)


def _has_members(numbers: range) -> list[sa.ColumnElement[bool]]:
    other = job_metadata.alias("other")
    return [sa.exists().where(other.c.job_id == jobs.c.id, *_is_member(other, number)) for number in numbers]


def _rest(shape: Shape) -> list[sa.ColumnElement[bool]]:
    """What no index decides. Inside `coalesce`, so that no planner takes an index on it for the better one."""
    found: list[sa.ColumnElement[bool]] = []
    if shape.statuses is not None:
        found.append(sa.func.coalesce(jobs.c.status, "").in_([status.value for status in shape.statuses]))
    if shape.job_type is not None:
        found.append(sa.func.coalesce(jobs.c.job_type, "") == shape.job_type.value)
    for name, column, nothing in (("agent", jobs.c.agent_id, ""), ("user", jobs.c.user_id, 0)):
        found += shape.when(name, sa.func.coalesce(column, nothing) == bound(name, column))
    return found


def _by_state(shape: Shape) -> sa.Select[Any]:
    """One short range of the index for each type and status, merged."""
    types = [*JobType] if shape.job_type is None else [shape.job_type]
    statuses = [*JobStatus] if shape.statuses is None else shape.statuses
    shared = (
        *shape.owns(jobs.c.organization_id),
        *_has_members(range(shape.members)),
        *_created(shape, jobs.c.public_id),
        *shape.bounds(jobs.c.public_id),
    )
    states = [(jobs.c.job_type == job_type, jobs.c.status == status) for job_type, status in product(types, statuses)]
    ranges = [shape.cut(sa.select(jobs.c.public_id).where(*state, *shared), jobs.c.public_id) for state in states]
    merged = sa.union_all(*(sa.select(one.subquery()) for one in ranges)).subquery("merged")
    return shape.cut(sa.select(merged.c.public_id), merged.c.public_id)


def _created(shape: Shape, public_id: sa.ColumnElement[str]) -> list[sa.ColumnElement[bool]]:
    """Exact by `created_at`; the id, which begins with the time, narrows the range of the index."""
    at = jobs.c.created_at
    return [
        *shape.when("created_after", at > bound("created_after", at)),
        *shape.when("oldest", public_id > bound("oldest", public_id)),
        *shape.when("created_before", at < bound("created_before", at)),
        *shape.when("newest", public_id < bound("newest", public_id)),
    ]
