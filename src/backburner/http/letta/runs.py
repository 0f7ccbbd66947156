"""Runs: conversations of single items."""

from __future__ import annotations

from collections.abc import Collection

from quart import Response

from backburner.errors import Conflict, Invalid
from backburner.http.call import Call, reply
from backburner.http.letta.asked import Asked
from backburner.http.letta.jobs import cancelled
from backburner.http.letta.message_shapes import pieces
from backburner.http.letta.pages import page_of_messages, page_of_runs, page_of_steps
from backburner.http.letta.run_shapes import (
    STATUSES_OF,
    letta_run,
    letta_step,
    reasons_of,
    run_metrics,
    usage_statistics,
)
from backburner.http.runs import find_item, find_run
from backburner.states import JobStatus
from backburner.storage import jobs
from backburner.storage.messages import MessageSpan
from backburner.storage.steps import LAST

_ACTIVE = ("created", "running")


async def list_runs(call: Call) -> Response:
    """Runs, newest first."""
    asked = Asked.of(call)
    named = [*asked.texts("statuses"), *(_ACTIVE if asked.flag("active") else ())]
    return reply(await _listed(call, asked, named))


async def list_active(call: Call) -> Response:
    """Those that have not ended."""
    return reply(await _listed(call, Asked.of(call), _ACTIVE))


async def _listed(call: Call, asked: Asked, named: Collection[str]) -> list[dict[str, object]]:
    agents = {*asked.texts("agent_id"), *asked.texts("agent_ids")}
    reason = asked.text("stop_reason")
    reasons = None if reason is None else reasons_of(reason)
    if asked.flag("background") is False or reasons == []:
        return []
    found = await page_of_runs(
        call,
        asked,
        ascending=asked.ascending(),
        agent_ids=agents or None,
        statuses=_statuses(named) if named else None,
        stop_reasons=reasons,
    )
    return [letta_run(run) for run in found]


def _statuses(named: Collection[str]) -> list[JobStatus]:
    unknown = [name for name in named if name not in STATUSES_OF]
    if unknown:
        raise Invalid(f"{unknown[0]!r} is no status of a run.", param="statuses")
    return sorted({status for name in named for status in STATUSES_OF[name]})


async def get_run(call: Call, run_id: str) -> Response:
    """The run."""
    return reply(letta_run(await find_run(call, run_id)))


async def delete_run(call: Call, run_id: str) -> Response:
    """The run as it was, deleted with its job. One that is at work is cancelled instead, and answered as it is then.

    Raises Conflict for one of many runs of a job.
    """
    job, _ = await find_item(call, run_id)
    run = await find_run(call, run_id)
    if job.counts is None or job.counts.total > 1:
        raise Conflict("run_of_many", f"The run is one of many of the batch {job.id}; delete that.")
    if not job.status.is_terminal:
        await cancelled(call, job.id)
        return reply(letta_run(await find_run(call, run_id)))
    await call.change(jobs.delete_job, call.organization_key, job.id)
    call.services.changes.changed([job.id])
    return reply(letta_run(run))


async def list_messages(call: Call, run_id: str) -> Response:
    """The typed pieces of the run's messages, in their order."""
    asked = Asked.of(call)
    job, index = await find_item(call, run_id)
    within = MessageSpan(low=(index, 0, 0), high=(index, LAST, 0), index=index)
    found = await page_of_messages(call, job, asked, within=within, ascending=asked.ascending(default=True))
    return reply([piece for message in found for piece in pieces(message)])


async def list_steps(call: Call, run_id: str) -> Response:
    """The run's steps, the last one first."""
    asked = Asked.of(call)
    job, index = await find_item(call, run_id)
    found = await page_of_steps(call, job, index, asked, ascending=asked.ascending())
    return reply([letta_step(step) for step in found])


async def get_usage(call: Call, run_id: str) -> Response:
    """Tokens of the whole run."""
    return reply(usage_statistics(await find_run(call, run_id)))


async def get_metrics(call: Call, run_id: str) -> Response:
    """How long the run took."""
    return reply(run_metrics(await find_run(call, run_id), call.principal.organization_id))


async def get_trace(call: Call, run_id: str) -> Response:
    """Nothing is traced: an empty list."""
    await find_run(call, run_id)
    return reply([])
