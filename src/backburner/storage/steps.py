"""Steps of one job with what their messages are read from, page by page in either direction."""

from __future__ import annotations

from typing import Any

import attrs
import sqlalchemy as sa

from backburner.agent_options import cost_of
from backburner.conversation import Standing, Step, answer_of, displayed, text_member, tool_calls
from backburner.model import Job
from backburner.result_lines import usage_of
from backburner.states import BATCH_FINAL, ItemStatus
from backburner.storage.members import holds
from backburner.storage.step_calls import Calls, calls_of
from backburner.storage.tables import (
    conversations,
    items,
    jobs,
    provider_batches,
    requests,
    results,
    step_feedback,
)

LAST = 2**31 - 1


@attrs.frozen(kw_only=True)
class Span:
    """Which steps: of one item, or of those with this custom id; between two positions, which are left out."""

    low: tuple[int, ...] = (-1, 0)  #: (index, round)
    high: tuple[int, ...] = (LAST, 0)
    forward: bool = True
    index: int | None = None
    custom_id: str | None = None


@attrs.frozen
class Told:
    """A step, and its request and result as they are stored."""

    step: Step
    params: str | None  #: None for a later round, whose request follows from the earlier ones
    result: str | None  #: None also for an item that ended without an answer of the provider
    standing: Standing | None = None  #: of the whole conversation, where it is an agent's
    given: list[Any] | None = None  #: what tools gave for the calls of the round before


COLUMNS = (
    items.c.idx,
    items.c.custom_id,
    items.c.agent_id,
    items.c.request_idx,
    items.c.job_id,
)


def stepping(picked: Any) -> sa.Select[Any]:
    """The rounds of picked items (which have `COLUMNS`), each with its provider batch and its result."""
    of_round = sa.and_(
        results.c.job_id == picked.c.job_id,
        results.c.idx == picked.c.idx,
        results.c.round == provider_batches.c.round,
    )
    return (
        sa.select(
            picked,
            results.c.line,
            results.c.status.label("outcome"),
            provider_batches.c.round,
            provider_batches.c.status,
            provider_batches.c.fill,
            provider_batches.c.error,
            provider_batches.c.created_at,
            provider_batches.c.submitted_at,
            provider_batches.c.ended_at,
            step_feedback.c.feedback,
            step_feedback.c.tags,
            conversations.c.state.label("conversation"),
            conversations.c.status.label("standing"),
            conversations.c.stop_reason.label("standing_reason"),
            conversations.c.updated_at.label("standing_at"),
        )
        .select_from(picked)
        .join(provider_batches, holds(picked.c.job_id, picked.c.idx))
        .outerjoin(results, of_round)
        .outerjoin(step_feedback, said_of(picked, provider_batches.c.round))
        .outerjoin(
            conversations, sa.and_(conversations.c.job_id == picked.c.job_id, conversations.c.idx == picked.c.idx)
        )
    )


def said_of(item: Any, number: Any) -> sa.ColumnElement[bool]:
    """Whether feedback is of this round of an item (which has `job_id` and `idx`)."""
    return sa.and_(
        step_feedback.c.job_id == item.c.job_id, step_feedback.c.idx == item.c.idx, step_feedback.c.round == number
    )


def steps_of(tx: sa.Connection, job: Job, span: Span, *, limit: int, with_params: bool) -> list[Told]:
    """Up to `limit` steps, in the direction of the span."""
    picked = _picked(job, span, limit).subquery("picked")
    position = sa.tuple_(picked.c.idx, provider_batches.c.round)
    query = stepping(picked).where(position > sa.tuple_(*span.low), position < sa.tuple_(*span.high))
    wanted = requests.c.params if with_params else sa.case((results.c.line.is_(None), requests.c.params))
    source = sa.select(jobs.c.requests_of).where(jobs.c.id == job.key).scalar_subquery()
    query = query.add_columns(wanted.label("params")).outerjoin(
        requests,
        sa.and_(requests.c.job_id == source, requests.c.idx == picked.c.request_idx, provider_batches.c.round == 1),
    )
    order = (picked.c.idx, provider_batches.c.round)
    query = query.order_by(*(order if span.forward else (column.desc() for column in order))).limit(limit)
    told = [told_of(row, job.id) for row in tx.execute(query)]
    return told if job.agent is None or not told else _with_calls(tx, job, told)


def _with_calls(tx: sa.Connection, job: Job, told: list[Told]) -> list[Told]:
    """Steps of an agent, with what the ledger and the agent's prices add."""
    positions = [one.step.index for one in told]
    calls = calls_of(tx, job.key, min(positions), max(positions))
    return [_with_ledger(job, one, calls) for one in told]


def _with_ledger(job: Job, told: Told, calls: Calls) -> Told:
    step = told.step
    became = calls.shown(step.index, step.round)
    shown = [call | became[n] if n < len(became) else call for n, call in enumerate(step.tool_calls)]
    step = attrs.evolve(step, tool_calls=shown, cost_usd=cost_of(job.agent, step.usage))
    return attrs.evolve(told, step=step, given=calls.given(step.index, step.round))


def _picked(job: Job, span: Span, limit: int) -> sa.Select[Any]:
    """Enough items: each has a step, and of the first the wanted round may be over."""
    query = sa.select(*COLUMNS).where(items.c.job_id == job.key, items.c.idx.between(span.low[0], span.high[0]))
    if span.index is not None:
        query = query.where(items.c.idx == span.index)
    if span.custom_id is not None:
        query = query.where(items.c.custom_id == span.custom_id)
    return query.order_by(items.c.idx if span.forward else items.c.idx.desc()).limit(limit + 1)


def told_of(row: Any, job_id: str) -> Told:
    """From a row of `stepping`, with or without `params`."""
    params = getattr(row, "params", None)
    answer = answer_of(row.line)
    status = row.outcome or _filled(row) or ItemStatus.PROCESSING
    step = Step(
        job_id=job_id,
        index=row.idx,
        custom_id=row.custom_id,
        agent_id=row.agent_id,
        round=row.round,
        status=status,
        model=text_member(answer, "model") or _asked_model(params),
        stop_reason=text_member(answer, "stop_reason"),
        usage=None if row.line is None else usage_of(row.line),
        tool_calls=tool_calls(answer),
        created_at=row.submitted_at or row.created_at,
        completed_at=None if status is ItemStatus.PROCESSING else row.ended_at,
        feedback=row.feedback,
        tags=row.tags or (),
    )
    standing = Standing(row.standing, row.standing_reason, row.standing_at) if row.conversation else None
    return Told(step, params, row.line, standing)


def _filled(row: Any) -> ItemStatus | None:
    """How an item of a closed batch ended that has no result."""
    fill: ItemStatus | None = row.fill
    return fill if row.status in BATCH_FINAL else None


def _asked_model(params: str | None) -> str | None:
    asked = displayed(params) if params is not None else None
    return text_member(asked, "model") if isinstance(asked, dict) else None
