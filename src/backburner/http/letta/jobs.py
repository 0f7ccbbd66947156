"""Jobs."""

from __future__ import annotations

from quart import Response

from backburner.http.call import Call, reply
from backburner.http.jobs import find_job
from backburner.http.letta.asked import Asked
from backburner.http.letta.job_shapes import job_json
from backburner.http.paging import require_id
from backburner.model import Job
from backburner.states import ACTIVE, JobType
from backburner.storage import jobs
from backburner.storage.job_lists import JobFilter, list_jobs


async def list_all(call: Call) -> Response:
    """Jobs that are no batches, newest first."""
    asked = Asked.of(call)
    # There `ascending` is true when it is not given, so that only false can mean something; `order` goes before it.
    ascending = asked.text("order") is not None and asked.ascending()
    return reply(await listed(call, asked, JobType.JOB, ascending=ascending, active=asked.flag("active") or False))


async def list_active(call: Call) -> Response:
    """Those that have not ended, oldest first."""
    asked = Asked.of(call)
    return reply(await listed(call, asked, JobType.JOB, ascending=asked.ascending(default=True), active=True))


async def listed(
    call: Call, asked: Asked, job_type: JobType, *, ascending: bool, active: bool = False
) -> list[dict[str, object]]:
    """A page of jobs. `after` means further along in the order, which the clients' automatic paging needs."""
    source = asked.text("source_id")
    found, _ = await call.services.database.read(
        list_jobs,
        call.organization_key,
        JobFilter(
            statuses=sorted(ACTIVE) if active else None,
            job_type=job_type,
            metadata={} if source is None else {"source_id": source},
        ),
        limit=asked.limit(),
        after=asked.cursor("after", "job"),
        before=asked.cursor("before", "job"),
        ascending=ascending,
    )
    return [job_json(job) for job in found]


async def get_one(call: Call, job_id: str) -> Response:
    """A job of any type."""
    return reply(job_json(await find_job(call, job_id)))


async def cancel(call: Call, job_id: str) -> Response:
    """The job. 409 when it has ended otherwise."""
    return reply(job_json(await cancelled(call, job_id)))


async def cancelled(call: Call, job_id: str) -> Job:
    """The job, cancelled or about to be. Raises NotFound and Conflict."""
    require_id("job", job_id)
    services = call.services
    job, _ = await call.change(
        jobs.cancel_job, call.organization_key, job_id, now=services.clock.now(), ids=services.ids
    )
    services.changes.changed([job_id])
    services.work()
    return job


async def delete(call: Call, job_id: str) -> Response:
    """The job as it was. 409 while it has not ended."""
    require_id("job", job_id)
    services = call.services
    job = await call.change(jobs.delete_job, call.organization_key, job_id)
    services.changes.changed([job_id])
    return reply(job_json(job))
