"""Runs: the conversations that the items of an organization's jobs are."""

from __future__ import annotations

from quart import Response

from backburner.conversation import Run, run_of
from backburner.errors import NotFound
from backburner.http import paging
from backburner.http.call import Call, reply
from backburner.http.conversation_ids import PATTERNS, bounds
from backburner.http.conversation_shapes import run_json
from backburner.http.paging import Page, envelope
from backburner.http.query import Parameter, one_of, words
from backburner.http.steps import MESSAGES, STEPS, find_part, listed_messages, listed_steps
from backburner.model import Job
from backburner.states import JobStatus
from backburner.storage import runs, steps
from backburner.storage.runs import RunSpan
from backburner.storage.steps import Span, Told

MOST_ROUNDS = 1000

RUNS = {
    **paging.parameters("run", pattern=PATTERNS["run"]),
    "agent_id": Parameter(convert=words()),
    "status": Parameter(convert=one_of([*JobStatus]), many=True),
}


async def list_runs(call: Call) -> Response:
    """Runs of the caller's organization, by job and then by the item's position."""
    asked = call.query(RUNS)
    page = Page.of(asked)
    low, high = bounds("run", page)
    span = RunSpan(
        low=None if low is None else (low[0], low[1][0]),
        high=None if high is None else (high[0], high[1][0]),
        forward=page.ascending == (page.before is None),
        agent_ids=None if asked["agent_id"] is None else [asked["agent_id"]],
        statuses=[JobStatus(status) for status in asked["status"]] or None,
    )
    found, has_more = await call.services.database.read(runs.list_runs, call.organization_key, span, limit=page.limit)
    shown = [run_json(run) for run in found]
    return reply(envelope(shown if page.before is None else shown[::-1], has_more))


async def get_run(call: Call, run_id: str) -> Response:
    call.query()
    return reply(run_json(await find_run(call, run_id)))


async def find_run(call: Call, run_id: str) -> Run:
    """A run of the caller's organization. Raises NotFound."""
    job, index = await find_item(call, run_id)
    found = await find_steps(call, job, index)
    if not found:
        raise NotFound("run", run_id)
    made = [told.step for told in found]
    return run_of(
        made,
        job_status=job.status,
        created_at=job.created_at,
        metadata=job.metadata,
        standing=found[-1].standing,
    )


async def find_steps(call: Call, job: Job, index: int) -> list[Told]:
    """Every step of one item."""
    span = Span(index=index)
    return await call.services.database.read(steps.steps_of, job, span, limit=MOST_ROUNDS, with_params=False)


async def list_run_steps(call: Call, run_id: str) -> Response:
    asked = call.query(STEPS)
    job, index = await find_item(call, run_id)
    return await listed_steps(call, job, asked, index=index)


async def list_run_messages(call: Call, run_id: str) -> Response:
    asked = call.query(MESSAGES)
    job, index = await find_item(call, run_id)
    return await listed_messages(call, job, asked, index=index)


async def find_item(call: Call, run_id: str) -> tuple[Job, int]:
    """The job and the position of the item whose conversation it is. Raises NotFound."""
    job, (index,) = await find_part(call, "run", run_id)
    if job.counts is None or index >= job.counts.total:
        raise NotFound("run", run_id)
    return job, index
