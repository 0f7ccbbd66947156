"""One message batch: show, cancel, delete it, read its results."""

from __future__ import annotations

from typing import Self

import attrs
from quart import Response

from backburner.errors import Conflict, NotFound
from backburner.http.anthropic.ids import job_id_of
from backburner.http.anthropic.shapes import batch_json, root_of
from backburner.http.call import Call, answer_of, reply
from backburner.http.problem import Refused
from backburner.http.results import ResultPages
from backburner.model import Job
from backburner.states import JobType
from backburner.storage import jobs

RESULTS = "application/x-jsonl"


async def get_batch(call: Call, batch_id: str) -> Response:
    """The batch as it is."""
    return shown(call, await find_batch(call, batch_id))


async def find_batch(call: Call, batch_id: str) -> Job:
    """A batch job of the caller's organization, however it was made. Raises NotFound."""
    job_id = job_id_of(batch_id)
    try:
        job = None if job_id is None else await call.services.database.read(jobs.get_job, call.organization_key, job_id)
    except NotFound:
        job = None
    if job is None or job.job_type is not JobType.BATCH:
        raise NotFound("message batch", batch_id)
    return job


def shown(call: Call, job: Job) -> Response:
    """The batch, answered."""
    return reply(batch_json(job, root_of(call.services)))


async def cancel_batch(call: Call, batch_id: str) -> Response:
    """The batch, `canceling` while the provider has to confirm. One that has ended stays as it is."""
    job, services = await find_batch(call, batch_id), call.services
    root = root_of(services)
    try:
        job, _ = await attrs.evolve(call, object_id=job.id).write(
            lambda outcome: answer_of(batch_json(outcome[0], root)),
            jobs.cancel_job,
            call.organization_key,
            job.id,
            now=services.clock.now(),
            ids=services.ids,
        )
    except Conflict:
        job = await find_batch(call, batch_id)
    services.changes.changed([job.id])
    services.work()
    return shown(call, job)


async def delete_batch(call: Call, batch_id: str) -> Response:
    """Deletes the job. Raises Conflict while it runs."""
    job, services = await find_batch(call, batch_id), call.services
    if not job.status.is_terminal:
        raise Conflict("job_not_terminal", "A batch can be deleted when it has ended; cancel it first.")
    deleting = attrs.evolve(call, object_id=job.id)
    await deleting.change(jobs.delete_job, call.organization_key, job.id)
    services.changes.changed([job.id])
    return reply({"id": batch_id, "type": "message_batch_deleted"})


async def get_results(call: Call, batch_id: str) -> Response:
    """One line for each request. 404 until the batch has ended."""
    job = await find_batch(call, batch_id)
    if not job.status.is_terminal:
        raise Refused(404, "not_ended", "The batch has not ended; there are no results yet.")
    pages = ResultPages(call.services.database, job, [])
    await pages.prefetch()
    return Response(_Lines(pages), 200, content_type=RESULTS)


@attrs.frozen
class _Lines:
    """Result pages for clients that also end a line at a carriage return, which JSON allows between its tokens."""

    pages: ResultPages

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return (await self.pages.__anext__()).replace(b"\r", b" ")
