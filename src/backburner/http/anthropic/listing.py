"""The list of message batches, newest first."""

from __future__ import annotations

from quart import Response

from backburner.errors import Invalid
from backburner.http.anthropic.ids import job_id_of
from backburner.http.anthropic.shapes import batch_json, root_of
from backburner.http.call import Call, reply
from backburner.http.paging import envelope
from backburner.http.query import pairs, whole
from backburner.states import JobType
from backburner.storage.job_lists import JobFilter, list_jobs

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000


async def list_batches(call: Call) -> Response:
    """Batch jobs of the caller's organization, however they were made. Unknown parameters are ignored."""
    asked = dict(pairs(call.request.query_string))
    after, before = _cursor(asked, "after_id"), _cursor(asked, "before_id")
    if after and before:
        raise Invalid("before_id: only one of after_id and before_id can be given.")
    found, has_more = await call.services.database.read(
        list_jobs,
        call.organization_key,
        JobFilter(job_type=JobType.BATCH),
        limit=_limit(asked.get("limit")),
        after=after,
        before=before,
        ascending=False,
    )
    root = root_of(call.services)
    return reply(envelope([batch_json(job, root) for job in found], has_more))


def _cursor(asked: dict[str, str], name: str) -> str | None:
    if name not in asked:
        return None
    job_id = job_id_of(asked[name])
    if job_id is None:
        raise Invalid(f"{name}: not the id of a message batch.")
    return job_id


def _limit(text: str | None) -> int:
    try:
        return DEFAULT_LIMIT if text is None else whole(1, MAX_LIMIT)(text)
    except ValueError as error:
        raise Invalid(f"limit: {error}.") from None
