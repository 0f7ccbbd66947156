"""Steps: one item in one round."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

import msgspec
from quart import Response

from backburner.errors import Invalid
from backburner.http.call import Call, reply
from backburner.http.conversation_ids import parsed
from backburner.http.letta.asked import Asked
from backburner.http.letta.message_shapes import pieces
from backburner.http.letta.pages import page_of_messages
from backburner.http.letta.run_shapes import letta_step, step_metrics
from backburner.http.steps import find_step
from backburner.storage.feedback import give_feedback as give
from backburner.storage.messages import MessageSpan
from backburner.storage.runs import RunSpan, list_steps
from backburner.storage.steps import LAST

WORDS = ("positive", "negative")


class Feedback(msgspec.Struct):
    """What a person says of a step."""

    feedback: Literal["positive", "negative"] | None = None
    tags: Annotated[list[Annotated[str, msgspec.Meta(max_length=255)]], msgspec.Meta(max_length=100)] | None = None


async def list_all(call: Call) -> Response:
    """Steps of the organization, newest first. A page ends with a run, so that it may hold a few more than asked."""
    asked = Asked.of(call)
    ascending = asked.ascending()
    after, before = asked.cursor("after", "step"), asked.cursor("before", "step")
    low, high = (after, before) if ascending else (before, after)
    span = RunSpan(
        low=None if low is None else _run_of(low),
        high=None if high is None else _run_of(high),
        forward=ascending == (before is None),
        agent_ids=asked.texts("agent_id") or None,
        feedback=_feedback(asked),
    )
    found = await call.services.database.read(list_steps, call.organization_key, span, limit=asked.limit())
    shown = [letta_step(step) for step in found]
    return reply(shown if before is None else shown[::-1])


def _feedback(asked: Asked) -> Collection[str | None] | None:
    found: set[str | None] = {*WORDS, None}
    given, word = asked.flag("has_feedback"), asked.text("feedback")
    if given is None and word is None:
        return None
    if given is not None:
        found &= set(WORDS) if given else {None}
    if word is not None:
        if word not in WORDS:
            raise Invalid(f"feedback must be one of {', '.join(WORDS)}.", param="feedback")
        found &= {word}
    return found


def _run_of(step_id: str) -> tuple[str, int]:
    job_id, (index, _) = parsed("step", step_id)
    return job_id, index


async def get_step(call: Call, step_id: str) -> Response:
    """The step."""
    _, step = await find_step(call, step_id)
    return reply(letta_step(step))


async def get_metrics(call: Call, step_id: str) -> Response:
    """How long the step took."""
    _, step = await find_step(call, step_id)
    return reply(step_metrics(step, call.principal.organization_id))


async def get_trace(call: Call, step_id: str) -> Response:
    """Nothing is traced: null."""
    await find_step(call, step_id)
    return reply(None)


async def list_messages(call: Call, step_id: str) -> Response:
    """The typed pieces of the step's messages, in their order."""
    asked = Asked.of(call)
    job, step = await find_step(call, step_id)
    within = MessageSpan(low=(step.index, step.round, -1), high=(step.index, step.round, LAST), index=step.index)
    found = await page_of_messages(call, job, asked, within=within, ascending=asked.ascending(default=True))
    return reply([piece for message in found for piece in pieces(message)])


async def give_feedback(call: Call, step_id: str) -> Response:
    """The step, with what is now said of it. A word that is not given is taken back; tags that are not given stay."""
    said = await call.json(Feedback)
    job, step = await find_step(call, step_id)
    await call.change(give, job.key, step.index, step.round, feedback=said.feedback, tags=said.tags)
    _, step = await find_step(call, step_id)
    return reply(letta_step(step))
