"""Lists of jobs, for everybody and for operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Response

from backburner.http import paging
from backburner.http.call import Call, reply
from backburner.http.paging import Page, envelope
from backburner.http.query import Parameter, flag, moment, one_of, words
from backburner.http.shapes import job_json
from backburner.job_metadata import LONGEST_SOUGHT
from backburner.states import ACTIVE, JobStatus, JobType
from backburner.storage import job_lists
from backburner.storage.job_lists import JobFilter


def _sought(text: str) -> str:
    if len(text) > LONGEST_SOUGHT:
        raise ValueError(f"must have at most {LONGEST_SOUGHT} characters: jobs are found by no longer values")
    return text


BATCHES_QUERY: Mapping[str, Parameter] = {
    **paging.parameters("job"),
    "status": Parameter(convert=one_of([*JobStatus]), many=True),
    "active": Parameter(convert=flag, default=False),
    "agent_id": Parameter(convert=words()),
    "created_after": Parameter(convert=moment),
    "created_before": Parameter(convert=moment),
    "metadata.": Parameter(convert=_sought, prefix=True),
}
JOBS_QUERY = {**BATCHES_QUERY, "job_type": Parameter(convert=one_of([*JobType]))}
ALL_JOBS_QUERY = {
    **JOBS_QUERY,
    "organization_id": Parameter(convert=words()),
    "user_id": Parameter(convert=words()),
}
#: RFC 9745: since the first release, with the successor beside it.
_DEPRECATED = {"Deprecation": "@1767225600", "Link": '</v1/jobs?active=true>; rel="successor-version"'}


async def list_jobs(call: Call) -> Response:
    """Jobs of the caller's organization."""
    return await _listed(call, call.organization_key, call.query(JOBS_QUERY))


async def list_batches(call: Call) -> Response:
    """Of those, the batches."""
    return await _listed(call, call.organization_key, call.query(BATCHES_QUERY) | {"job_type": JobType.BATCH})


async def list_active_jobs(call: Call) -> Response:
    """The older form of `active=true`."""
    answer = await _listed(call, call.organization_key, call.query(JOBS_QUERY) | {"active": True})
    answer.headers.update(_DEPRECATED)
    return answer


async def list_all_jobs(call: Call) -> Response:
    """Jobs of every organization, for the operator; of their own, for other admins."""
    return await _listed(call, call.reach, call.query(ALL_JOBS_QUERY))


async def _listed(call: Call, organization_key: int | None, asked: Mapping[str, Any]) -> Response:
    page = Page.of(asked)
    found, has_more = await call.services.database.read(
        job_lists.list_jobs,
        organization_key,
        _filter(asked),
        limit=page.limit,
        after=page.after,
        before=page.before,
        ascending=page.ascending,
    )
    return reply(envelope([job_json(job) for job in found], has_more))


def _filter(asked: Mapping[str, Any]) -> JobFilter:
    names = ("agent_id", "organization_id", "user_id", "created_after", "created_before")
    job_type = asked.get("job_type")
    return JobFilter(
        statuses=_statuses([JobStatus(status) for status in asked["status"]], active=asked["active"]),
        job_type=None if job_type is None else JobType(job_type),
        metadata=asked["metadata."],
        **{name: asked.get(name) for name in names},
    )


def _statuses(named: list[JobStatus], *, active: bool) -> list[JobStatus] | None:
    """None means any."""
    if active:
        return sorted(ACTIVE if not named else ACTIVE & set(named))
    return named or None
