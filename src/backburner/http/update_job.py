"""`PATCH /v1/jobs/{id}`: the owner's word on how a job goes on."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from quart import Response

from backburner.http.call import Call, reply
from backburner.http.jobs import etag_of, tagged
from backburner.http.paging import require_id
from backburner.http.problem import Refused
from backburner.http.shapes import job_json
from backburner.model import Job
from backburner.states import JobStatus
from backburner.storage import job_updates

_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class JobChanges(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed; what is absent stays as it is."""

    status: JobStatus | msgspec.UnsetType = msgspec.UNSET
    stop_reason: _Reason | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    result: Any = msgspec.UNSET
    error: Any = msgspec.UNSET
    ttft_ns: _Nanoseconds | msgspec.UnsetType | None = msgspec.UNSET
    total_duration_ns: _Nanoseconds | msgspec.UnsetType | None = msgspec.UNSET


async def update_job(call: Call, job_id: str) -> Response:
    """The job as it is then. With `If-Match` only if it is still as its `ETag` says."""
    call.query()
    require_id("job", job_id)
    asked = await call.json(JobChanges)
    given = {name: value for name, value in msgspec.structs.asdict(asked).items() if value is not msgspec.UNSET}
    services, match = call.services, call.request.if_match

    def expected(job: Job) -> None:
        if match and not match.contains(etag_of(job)):
            raise Refused(412, "precondition_failed", "The job has changed: its ETag is not the one in If-Match.")

    job = await call.change(
        job_updates.update_job,
        call.organization_key,
        job_id,
        given,
        expected=expected,
        now=services.clock.now(),
        ids=services.ids,
    )
    services.changes.changed([job_id])
    if job.status.is_terminal:
        services.work()
    return tagged(reply(job_json(job)), job)
