"""Pages of runs, steps and messages, by the same verbs as the main API's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

import attrs

from backburner.conversation import Message, Run, Step
from backburner.http.call import Call
from backburner.http.conversation_ids import bounds, bounds_in
from backburner.http.letta.asked import Asked
from backburner.http.paging import Page
from backburner.model import Job
from backburner.states import JobStatus
from backburner.storage import messages, runs, steps
from backburner.storage.messages import MessageSpan
from backburner.storage.runs import RunSpan
from backburner.storage.steps import Span

T = TypeVar("T")


def page_of(asked: Asked, kind: str, *, ascending: bool) -> Page:
    """Which part of a list is asked for."""
    return Page(
        limit=asked.limit(),
        after=asked.cursor("after", kind),
        before=asked.cursor("before", kind),
        ascending=ascending,
    )


async def page_of_runs(
    call: Call,
    asked: Asked,
    *,
    ascending: bool,
    agent_ids: Collection[str] | None,
    statuses: Collection[JobStatus] | None,
    stop_reasons: Collection[str] | None,
) -> Sequence[Run]:
    """Runs of the caller's organization."""
    page = page_of(asked, "run", ascending=ascending)
    low, high = bounds("run", page)
    span = RunSpan(
        low=None if low is None else (low[0], low[1][0]),
        high=None if high is None else (high[0], high[1][0]),
        forward=_forward(page),
        agent_ids=agent_ids,
        statuses=statuses,
        stop_reasons=stop_reasons,
    )
    found, _ = await call.services.database.read(runs.list_runs, call.organization_key, span, limit=page.limit)
    return _turned(found, page)


async def page_of_steps(call: Call, job: Job, index: int, asked: Asked, *, ascending: bool) -> Sequence[Step]:
    """Steps of one run."""
    page = page_of(asked, "step", ascending=ascending)
    low, high = bounds_in("step", page, job.id)
    span = Span(forward=_forward(page), index=index)
    span = attrs.evolve(span, low=low or span.low, high=high or span.high)
    found = await call.services.database.read(steps.steps_of, job, span, limit=page.limit, with_params=False)
    return _turned([told.step for told in found], page)


async def page_of_messages(
    call: Call,
    job: Job,
    asked: Asked,
    *,
    ascending: bool,
    within: MessageSpan | None = None,
    custom_id: str | None = None,
) -> Sequence[Message]:
    """Messages of one job, `within` a part of it or of one item."""
    page = page_of(asked, "message", ascending=ascending)
    low, high = bounds_in("message", page, job.id)
    span = attrs.evolve(within or MessageSpan(custom_id=custom_id), forward=_forward(page))
    span = attrs.evolve(span, low=max(low or span.low, span.low), high=min(high or span.high, span.high))
    found, _ = await call.services.database.read(messages.list_messages, job, span, limit=page.limit)
    return _turned(found, page)


def _forward(page: Page) -> bool:
    return page.ascending == (page.before is None)


def _turned(found: Sequence[T], page: Page) -> Sequence[T]:
    return found if page.before is None else found[::-1]
