"""One batch job: its provider batches and its items."""

from __future__ import annotations

from quart import Response

from backburner.errors import Invalid, NotFound
from backburner.http import jobs as one_job
from backburner.http import paging
from backburner.http.call import Call, reply
from backburner.http.items import CUSTOM_ID
from backburner.http.jobs import find_job
from backburner.http.paging import Page, an_id, envelope
from backburner.http.query import Parameter, one_of
from backburner.http.shapes import batch_json, item_id, item_json
from backburner.model import Job
from backburner.states import ItemStatus, JobType
from backburner.storage import batches, items

ITEMS_QUERY = {
    **paging.parameters("item", order="asc", pattern=r"[0-9a-f-]{36}-[0-9]{1,9}"),
    "status": Parameter(convert=one_of([*ItemStatus]), many=True),
    "custom_id": Parameter(convert=an_id(CUSTOM_ID)),
}


async def find_batch(call: Call, job_id: str) -> Job:
    """A batch job of the caller's organization. Raises NotFound, also for a job that is no batch."""
    job = await find_job(call, job_id)
    if job.job_type is not JobType.BATCH:
        raise NotFound("job", job_id)
    return job


async def get_batch(call: Call, job_id: str) -> Response:
    """The job with its provider batches."""
    call.query()
    job = await find_batch(call, job_id)
    return reply(batch_json(job, await call.services.database.read(batches.batches_of_job, job.key)))


async def cancel_batch(call: Call, job_id: str) -> Response:
    """As a job is cancelled."""
    await find_batch(call, job_id)
    return await one_job.cancel_job(call, job_id)


async def list_items(call: Call, job_id: str) -> Response:
    """In the order of the input, unless asked otherwise."""
    asked = call.query(ITEMS_QUERY)
    page = Page.of(asked)
    job = await find_batch(call, job_id)
    found, has_more = await call.services.database.read(
        items.list_items,
        job,
        statuses=[ItemStatus(status) for status in asked["status"]],
        custom_id=asked["custom_id"],
        limit=page.limit,
        after=_index(job, page.after, "after"),
        before=_index(job, page.before, "before"),
        ascending=page.ascending,
    )
    return reply(envelope([item_json(job, item) for item in found], has_more))


def _index(job: Job, cursor: str | None, name: str) -> int | None:
    if cursor is None:
        return None
    index = int(cursor.rpartition("-")[2])
    if cursor != item_id(job, index):
        raise Invalid(f"The parameter {name!r} must be an id of this list.", param=name)
    return index
