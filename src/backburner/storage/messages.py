"""Messages of one job, read off the requests and results of its steps."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import sqlalchemy as sa

from backburner.conversation import Message, dialogue, shaped
from backburner.model import Job
from backburner.request_config import Display
from backburner.storage.steps import LAST, Span, Told, steps_of

Place = tuple[int, ...]  # index, round, number

STEPS_AT_ONCE = 20
ITEM_PAGE = 200
MOST_BYTES = 8 * 1024 * 1024  # of requests and results behind one page, about


@attrs.frozen(kw_only=True)
class MessageSpan:
    """Which messages: of one item, round or custom id; between two places, which are left out."""

    low: Place = (-1, 0, 0)
    high: Place = (LAST, 0, 0)
    forward: bool = True
    index: int | None = None
    custom_id: str | None = None

    def steps(self) -> Span:
        """The steps that hold them, those of both places included."""
        return Span(
            low=(self.low[0], self.low[1] - 1),
            high=(self.high[0], self.high[1] + 1),
            forward=self.forward,
            index=self.index,
            custom_id=self.custom_id,
        )


def list_messages(tx: sa.Connection, job: Job, span: MessageSpan, *, limit: int) -> tuple[list[Message], bool]:
    """Up to `limit` messages in the direction of the span, and whether there are more; fewer of very large ones."""
    display = Display.of(job.request_config)
    found: list[Message] = []
    read = 0
    for told in _all_steps(tx, job, span.steps(), min(limit + 1, STEPS_AT_ONCE)):
        read += len(told.params or "") + len(told.result or "")
        found += [kept for one in _messages(job, told, span) if (kept := shaped(one, display)) is not None]
        if len(found) > limit:
            break
        if read > MOST_BYTES and found:
            limit = len(found)
    return found[:limit], len(found) > limit


def item_messages(tx: sa.Connection, job: Job, index: int) -> list[Message]:
    """Every message of one item, in their order."""
    found: list[Message] = []
    span, has_more = MessageSpan(low=(index, 0, 0), high=(index, LAST, 0), index=index), True
    while has_more:
        page, has_more = list_messages(tx, job, span, limit=ITEM_PAGE)
        found += page
        if page:
            span = attrs.evolve(span, low=(index, page[-1].round, page[-1].number))
    return found


def _all_steps(tx: sa.Connection, job: Job, span: Span, at_once: int) -> Iterator[Told]:
    while True:
        page = steps_of(tx, job, span, limit=at_once, with_params=True)
        yield from page
        if len(page) < at_once:
            return
        last = (page[-1].step.index, page[-1].step.round)
        span = attrs.evolve(span, low=last) if span.forward else attrs.evolve(span, high=last)


def _messages(job: Job, told: Told, span: MessageSpan) -> list[Message]:
    step = told.step
    found = [
        Message(
            job_id=job.id,
            index=step.index,
            agent_id=step.agent_id,
            round=step.round,
            number=number,
            role=role,
            content=content,
            created_at=(step.completed_at or step.created_at) if is_answer else job.created_at,
        )
        for number, is_answer, role, content in dialogue(told.params, told.result, told.given)
        if span.low < (step.index, step.round, number) < span.high
    ]
    return found if span.forward else found[::-1]
