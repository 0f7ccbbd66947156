"""One job: show it, wait for it, cancel it, delete it."""

from __future__ import annotations

from quart import Response

from backburner.http.call import Call, answer_of, reply
from backburner.http.paging import require_id
from backburner.http.query import Parameter, number, one_of
from backburner.http.services import Services
from backburner.http.shapes import job_json
from backburner.model import Job
from backburner.storage import jobs
from backburner.storage.idempotency import Answer

LONGEST_WAIT = 60.0  # seconds
#: A notification of another instance can be lost with its connection, so who waits also looks this often, in seconds.
LOOK_EVERY = 5.0

CHANGED, ENDED = "changed", "ended"

JOB_QUERY = {
    "wait": Parameter(convert=number(0, LONGEST_WAIT), default=0.0),
    "until": Parameter(convert=one_of([CHANGED, ENDED]), default=CHANGED),
}


async def get_job(call: Call, job_id: str) -> Response:
    """The job, with `?wait=` when it has changed or ended; 304 when it is as `If-None-Match` says."""
    asked = call.query(JOB_QUERY)
    wait, until = asked["wait"], asked["until"]
    job = await find_job(call, job_id)
    known = call.request.if_none_match
    if wait and (until == ENDED or not known or known.contains_weak(etag_of(job))):
        job = await _awaited(call.services, call.organization_key, job, wait, until)
    if known.contains_weak(etag_of(job)):
        return tagged(Response(b"", 304), job)
    return tagged(reply(job_json(job)), job)


async def find_job(call: Call, job_id: str) -> Job:
    """A job of the caller's organization. Raises NotFound, for another's as for one that does not exist."""
    require_id("job", job_id)
    return await call.services.database.read(jobs.get_job, call.organization_key, job_id)


async def _awaited(services: Services, organization_key: int, job: Job, wait: float, until: str) -> Job:
    """The job as soon as it has ended, or is not what it was; after `wait` seconds, or at a stop, as it is."""
    deadline = services.clock.monotonic() + wait
    was = job.version
    with services.changes.listening(job.id) as ear:
        while True:
            job = await services.database.read(jobs.get_job, organization_key, job.id)
            left = deadline - services.clock.monotonic()
            is_there = job.status.is_terminal or (until == CHANGED and job.version != was)
            if is_there or left <= 0 or services.stopping.is_set():
                return job
            await ear.heard(min(left, LOOK_EVERY))


def etag_of(job: Job) -> str:
    """What changes with every change of the job."""
    return str(job.version)


def tagged(response: Response, job: Job) -> Response:
    """The answer, with the ETag of the job that it shows."""
    response.set_etag(etag_of(job))
    return response


async def cancel_job(call: Call, job_id: str) -> Response:
    """200 when it is cancelled, 202 while the provider has to confirm."""
    await call.nothing()
    require_id("job", job_id)
    services = call.services
    answer = await call.make(
        _told_of_cancel, jobs.cancel_job, call.organization_key, job_id, now=services.clock.now(), ids=services.ids
    )
    services.changes.changed([job_id])
    services.work()
    return answer


def _told_of_cancel(outcome: tuple[Job, bool]) -> Answer:
    job, done = outcome
    return answer_of(job_json(job), 200 if done else 202)


async def delete_job(call: Call, job_id: str) -> Response:
    """The job as it was."""
    await call.nothing()
    require_id("job", job_id)
    services = call.services
    job = await call.change(jobs.delete_job, call.organization_key, job_id)
    services.changes.changed([job_id])
    return reply(job_json(job))
