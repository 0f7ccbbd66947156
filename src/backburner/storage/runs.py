"""Runs of an organization: its items, in the order of their jobs and then of their positions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa

from backburner.conversation import RUN_STATUS, WITHOUT_ANSWER, Run, Step, run_of
from backburner.states import ItemStatus, JobStatus
from backburner.storage.members import holds
from backburner.storage.statements import bound
from backburner.storage.steps import COLUMNS, LAST, said_of, stepping, told_of
from backburner.storage.tables import conversations, items, jobs, provider_batches, results, step_feedback

T = TypeVar("T")
Place = tuple[str, int]  # a job's public id, an item's position


@attrs.frozen(kw_only=True)
class RunSpan:
    """Which runs: between two places, which are left out. None means any."""

    low: Place | None = None
    high: Place | None = None
    forward: bool = True
    agent_ids: Collection[str] | None = None
    statuses: Collection[JobStatus] | None = None
    stop_reasons: Collection[str] | None = None
    feedback: Collection[str | None] | None = None  #: with a step of which this was said; None: nothing was

    def beyond(self, place: Place) -> RunSpan:
        """What is left of it behind a run, in its direction."""
        return attrs.evolve(self, low=place) if self.forward else attrs.evolve(self, high=place)


def list_runs(tx: sa.Connection, organization_key: int, span: RunSpan, *, limit: int) -> tuple[list[Run], bool]:
    """Up to `limit` runs in the direction of the span, and whether there are more."""
    found: list[Run] = []
    while True:
        rows = tx.execute(*listing(tx.dialect.name, organization_key, span, limit=limit))
        page = [_run(list(steps)) for _, steps in groupby(rows, key=lambda row: (row.job_public_id, row.idx))]
        found += [run for run in page if span.stop_reasons is None or run.stop_reason in span.stop_reasons]
        if len(found) > limit or len(page) <= limit:
            return found[:limit], len(found) > limit
        span = span.beyond((page[-1].job_id, page[-1].index))


def list_steps(tx: sa.Connection, organization_key: int, span: RunSpan, *, limit: int) -> list[Step]:
    """The steps of the next runs in the direction of the span: about `limit` of them, always those of whole runs."""
    rows = tx.execute(*listing(tx.dialect.name, organization_key, span, limit=limit))
    found: list[Step] = []
    for _, steps in groupby(rows, key=lambda row: (row.job_public_id, row.idx)):
        if len(found) >= limit:
            break
        told = [told_of(row, row.job_public_id).step for row in steps]
        wanted = [step for step in told if span.feedback is None or step.feedback in span.feedback]
        found += wanted if span.forward else wanted[::-1]
    return found


def _run(rows: Sequence[Any]) -> Run:
    first = rows[0]
    told = [told_of(row, first.job_public_id) for row in rows]
    return run_of(
        [one.step for one in told],
        standing=told[-1].standing,
        job_status=first.job_status,
        created_at=first.job_created_at,
        metadata=first.job_metadata,
    )


def listing(dialect: str, organization_key: int, span: RunSpan, *, limit: int) -> tuple[sa.Select[Any], dict[str, Any]]:
    """The statement for the steps of the runs of one page and of one more run, and the values to run it with."""
    values: dict[str, Any] = {"organization": organization_key, "most": limit + 1}
    for name, place in (("low", span.low), ("high", span.high)):
        if place is not None:
            values |= {f"{name}_job": place[0], f"{name}_index": place[1]}
    return _listing(dialect, _shape_of(span)), values


def _shape_of(span: RunSpan) -> RunSpan:
    """The span without its values: what has the same shape has the same statement."""
    return attrs.evolve(
        span,
        low=None if span.low is None else ("", 0),
        high=None if span.high is None else ("", 0),
        agent_ids=_fixed(span.agent_ids),
        statuses=_fixed(span.statuses),
        stop_reasons=_fixed(span.stop_reasons),
        feedback=_fixed(span.feedback),
    )


def _fixed(words: Collection[T] | None) -> tuple[T, ...] | None:
    return None if words is None else tuple(words)


@lru_cache(maxsize=512)
def _listing(dialect: str, span: RunSpan) -> sa.Select[Any]:
    picked = _picked(dialect, span).subquery("picked")
    order = _ordered((picked.c.job_public_id, picked.c.idx), forward=span.forward)
    return stepping(picked).order_by(*order, provider_batches.c.round)


def _ordered(columns: Sequence[sa.ColumnElement[Any]], *, forward: bool) -> list[Any]:
    return [column if forward else column.desc() for column in columns]


def _picked(dialect: str, span: RunSpan) -> sa.Select[Any]:
    count = bound("most", items.c.idx)
    item = sa.select(*COLUMNS).where(items.c.job_id == jobs.c.id, *_items_wanted(span))
    if dialect == "postgresql" and span.agent_ids is None:
        # A job of a million items would be sorted whole before its first could be shown.
        item = item.order_by(*_ordered((items.c.idx,), forward=span.forward)).limit(count)
        found: Any = item.lateral("item")
        source = jobs.join(found, sa.true())
    else:
        found = items
        source = jobs.join(items, sa.and_(items.c.job_id == jobs.c.id, *_items_wanted(span)))
    return (
        sa.select(
            *(found.c[column.name] for column in COLUMNS),
            jobs.c.public_id.label("job_public_id"),
            jobs.c.status.label("job_status"),
            jobs.c.created_at.label("job_created_at"),
            jobs.c.metadata.label("job_metadata"),
        )
        .select_from(source)
        .where(
            _owner(span) == bound("organization", jobs.c.organization_id),
            jobs.c.items_total.is_not(None),
            *_jobs_wanted(span),
        )
        .order_by(*_ordered((jobs.c.public_id, found.c.idx), forward=span.forward))
        .limit(count)
    )


def _owner(span: RunSpan) -> sa.ColumnElement[int]:
    """Inside `coalesce` where the agents' items lead to their jobs: SQLite would look at every item else."""
    return jobs.c.organization_id if span.agent_ids is None else sa.func.coalesce(jobs.c.organization_id, 0)


def _jobs_wanted(span: RunSpan) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if span.low is not None:
        found.append(jobs.c.public_id >= bound("low_job", jobs.c.public_id))
    if span.high is not None:
        found.append(jobs.c.public_id <= bound("high_job", jobs.c.public_id))
    if span.statuses is not None:
        found.append(sa.or_(*(_may_have(status) for status in sorted(span.statuses))))
    return found


def _may_have(status: JobStatus) -> sa.ColumnElement[bool]:
    """Whether a job's counts say that it has such runs."""
    for outcome, named in RUN_STATUS.items():
        if named is status:
            return jobs.c[outcome.value] > 0
    done = jobs.c.succeeded + jobs.c.errored + jobs.c.canceled + jobs.c.expired
    return sa.and_(done < jobs.c.items_total, _waits(status))


def _items_wanted(span: RunSpan) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if span.low is not None:
        found.append(items.c.idx > _index_in("low", outside=-1))
    if span.high is not None:
        found.append(items.c.idx < _index_in("high", outside=LAST))
    if span.agent_ids is not None:
        found.append(items.c.agent_id.in_(sorted(span.agent_ids)))
    if span.statuses is not None:
        found.append(sa.or_(*(_is(status) for status in sorted(span.statuses))))
    if span.stop_reasons is not None:
        found.append(sa.or_(*(_may_say(reason) for reason in sorted(span.stop_reasons))))
    if span.feedback is not None:
        found.append(_was_said(span.feedback))
    return found


def _index_in(place: str, *, outside: int) -> sa.ColumnElement[int]:
    """The place's index for items of its job, `outside` for those of others."""
    is_there = jobs.c.public_id == bound(f"{place}_job", jobs.c.public_id)
    return sa.case((is_there, bound(f"{place}_index", items.c.idx)), else_=outside)


def _may_say(reason: str) -> sa.ColumnElement[bool]:
    """Whether a result holds the word; that it stands in the right place is seen when the result is read."""
    said = sa.select(sa.true()).where(
        results.c.job_id == items.c.job_id,
        results.c.idx == items.c.idx,
        results.c.line.contains(f'"{reason}"', autoescape=True),
    )
    ended = [outcome for outcome, word in WITHOUT_ANSWER.items() if word == reason]
    stopped = sa.select(sa.true()).where(
        conversations.c.job_id == items.c.job_id,
        conversations.c.idx == items.c.idx,
        conversations.c.stop_reason == reason,
    )
    found = (said.correlate(items).exists(), stopped.correlate(items).exists())
    return sa.or_(*found, *(_state == outcome.value for outcome in ended))


def _was_said(wanted: Collection[str | None]) -> sa.ColumnElement[bool]:
    words = step_feedback.c.feedback.in_(sorted(word for word in wanted if word is not None))
    about = provider_batches.outerjoin(step_feedback, said_of(items, provider_batches.c.round))
    step = (
        sa.select(sa.true())
        .select_from(about)
        .where(
            holds(items.c.job_id, items.c.idx),
            sa.or_(words, step_feedback.c.feedback.is_(None)) if None in wanted else words,
        )
    )
    return step.correlate(items).exists()


def _is(status: JobStatus) -> sa.ColumnElement[bool]:
    for outcome, named in RUN_STATUS.items():
        if named is status:
            return _state == outcome.value
    return sa.and_(_state == ItemStatus.PROCESSING.value, _waits(status))


def _waits(status: JobStatus) -> sa.ColumnElement[bool]:
    """Whether an item that is not done makes a run of this status: that depends on the job."""
    if status is JobStatus.PENDING:
        return jobs.c.status == JobStatus.PENDING
    return jobs.c.status == JobStatus.RUNNING if status is JobStatus.RUNNING else sa.false()


#: How the only round of a plain item stands.
_plain_state = (
    sa.select(sa.func.coalesce(results.c.status, provider_batches.c.fill, ItemStatus.PROCESSING.value))
    .select_from(
        provider_batches.outerjoin(
            results,
            sa.and_(
                results.c.job_id == provider_batches.c.job_id,
                results.c.idx == items.c.idx,
                results.c.round == provider_batches.c.round,
            ),
        )
    )
    .where(
        provider_batches.c.job_id == items.c.job_id,
        provider_batches.c.first_idx <= items.c.idx,
        provider_batches.c.last_idx >= items.c.idx,
        provider_batches.c.round == 1,
    )
    .limit(1)
    .correlate(items)
    .scalar_subquery()
)
_conversation = (
    sa.select(sa.func.coalesce(conversations.c.status, ItemStatus.PROCESSING.value))
    .where(conversations.c.job_id == items.c.job_id, conversations.c.idx == items.c.idx)
    .correlate(items)
    .scalar_subquery()
)
_state = sa.func.coalesce(_conversation, _plain_state)
