"""Steps and messages: of a job, of a run, of one step."""

from __future__ import annotations

from typing import Any

import attrs
from quart import Response

from backburner.conversation import Step
from backburner.errors import NotFound
from backburner.http import paging
from backburner.http.call import Call, reply
from backburner.http.conversation_ids import PATTERNS, bounds_in, parsed
from backburner.http.conversation_shapes import message_json, step_json
from backburner.http.items import CUSTOM_ID
from backburner.http.jobs import find_job
from backburner.http.paging import Page, an_id, envelope
from backburner.http.query import Parameter
from backburner.model import Job
from backburner.storage import messages, steps
from backburner.storage.messages import MessageSpan
from backburner.storage.steps import LAST, Span

STEPS = paging.parameters("step", order="asc", pattern=PATTERNS["step"])
MESSAGES = paging.parameters("message", order="asc", pattern=PATTERNS["message"])
ITEM = {"item": Parameter(convert=an_id(CUSTOM_ID))}


async def list_job_steps(call: Call, job_id: str) -> Response:
    """Steps of every item, or of the one that `?item=` names."""
    asked = call.query({**STEPS, **ITEM})
    return await listed_steps(call, await find_job(call, job_id), asked)


async def list_job_messages(call: Call, job_id: str) -> Response:
    """Messages of every item, or of the one that `?item=` names."""
    asked = call.query({**MESSAGES, **ITEM})
    return await listed_messages(call, await find_job(call, job_id), asked)


async def get_step(call: Call, step_id: str) -> Response:
    call.query()
    _, step = await find_step(call, step_id)
    return reply(step_json(step))


async def list_step_messages(call: Call, step_id: str) -> Response:
    asked = call.query(MESSAGES)
    job, step = await find_step(call, step_id)
    return await listed_messages(call, job, asked, step=step)


async def find_part(call: Call, kind: str, public_id: str) -> tuple[Job, tuple[int, ...]]:
    """The job and the positions that an id is made of. Raises NotFound as for any object."""
    job_id, positions = parsed(kind, public_id)
    try:
        return await find_job(call, job_id), positions
    except NotFound:
        raise NotFound(kind, public_id) from None


async def find_step(call: Call, step_id: str) -> tuple[Job, Step]:
    """A step of the caller's organization, and its job. Raises NotFound."""
    job, (index, number) = await find_part(call, "step", step_id)
    span = Span(low=(index, number - 1), high=(index, number + 1), index=index)
    found = await call.services.database.read(steps.steps_of, job, span, limit=1, with_params=False)
    if not found:
        raise NotFound("step", step_id)
    return job, found[0].step


async def listed_steps(call: Call, job: Job, asked: dict[str, Any], *, index: int | None = None) -> Response:
    """A page of a job's steps, or of those of one item."""
    page = Page.of(asked)
    low, high = bounds_in("step", page, job.id)
    forward = page.ascending == (page.before is None)
    span = Span(forward=forward, index=index, custom_id=asked.get("item"))
    span = attrs.evolve(span, low=low or span.low, high=high or span.high)
    found = await call.services.database.read(steps.steps_of, job, span, limit=page.limit + 1, with_params=False)
    shown = [step_json(told.step) for told in found[: page.limit]]
    return reply(envelope(shown if page.before is None else shown[::-1], len(found) > page.limit))


async def listed_messages(
    call: Call, job: Job, asked: dict[str, Any], *, index: int | None = None, step: Step | None = None
) -> Response:
    """A page of a job's messages, or of those of one item or step."""
    page = Page.of(asked)
    low, high = bounds_in("message", page, job.id)
    forward = page.ascending == (page.before is None)
    span = MessageSpan(forward=forward, index=index, custom_id=asked.get("item"))
    if step is not None:
        span = attrs.evolve(
            span, index=step.index, low=(step.index, step.round, -1), high=(step.index, step.round, LAST)
        )
    span = attrs.evolve(span, low=max(low or span.low, span.low), high=min(high or span.high, span.high))
    found, has_more = await call.services.database.read(messages.list_messages, job, span, limit=page.limit)
    shown = [message_json(message) for message in found]
    return reply(envelope(shown if page.before is None else shown[::-1], has_more))
