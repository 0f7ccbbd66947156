"""Ids of runs, steps and messages: they have none of their own, so these are made of the job's and of positions."""

from __future__ import annotations

import re

from backburner.conversation import Message, Run, Step
from backburner.errors import Invalid, NotFound
from backburner.http.paging import Page

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_INDEX = r"-(?:0|[1-9][0-9]{0,8})"
_ROUND = r"-[1-9][0-9]{0,5}"

#: What follows `run-`, `step-`, `message-` and `item-`.
PATTERNS = {
    "run": UUID + _INDEX,
    "step": UUID + _INDEX + _ROUND,
    "message": UUID + _INDEX + _ROUND + _INDEX,
    "item": UUID + _INDEX,
}


def made_id(kind: str, job_id: str, *positions: int) -> str:
    """The id of a part of a job."""
    return "-".join([kind, job_id.removeprefix("job-"), *map(str, positions)])


def run_id(run: Run) -> str:
    return made_id("run", run.job_id, run.index)


def step_id(step: Step) -> str:
    return made_id("step", step.job_id, step.index, step.round)


def message_id(message: Message) -> str:
    return made_id("message", message.job_id, message.index, message.round, message.number)


def parsed(kind: str, public_id: str) -> tuple[str, tuple[int, ...]]:
    """The job's id and the positions. Raises NotFound for what cannot be the id of any `kind`."""
    if not re.fullmatch(f"{kind}-{PATTERNS[kind]}", public_id):
        raise NotFound(kind, public_id)
    made = public_id.removeprefix(f"{kind}-")
    return f"job-{made[:36]}", tuple(int(position) for position in made[37:].split("-"))


def bounds(kind: str, page: Page) -> tuple[tuple[str, tuple[int, ...]] | None, tuple[str, tuple[int, ...]] | None]:
    """What the page lies between, the lower bound first; None where it is open."""
    low, high = (page.after, page.before) if page.ascending else (page.before, page.after)
    return (None if low is None else parsed(kind, low)), (None if high is None else parsed(kind, high))


def bounds_in(kind: str, page: Page, job_id: str) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """The same for a list of one job. Raises Invalid for the id of another job's."""
    found = bounds(kind, page)
    if any(bound is not None and bound[0] != job_id for bound in found):
        name = "before" if page.after is None else "after"
        raise Invalid(f"The parameter {name!r} must be an id of this list.", param=name)
    low, high = found
    return (None if low is None else low[1]), (None if high is None else high[1])
