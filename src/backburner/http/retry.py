"""Running items of an ended batch again, as a new job."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import attrs
import msgspec
import trio
from quart import Response

from backburner.checked_intake import DROP_SECONDS, drop
from backburner.errors import BackburnerError, Conflict, Invalid
from backburner.http.batches import find_batch
from backburner.http.call import Call
from backburner.http.checks import check_callback
from backburner.http.create_batch import told_of_batch
from backburner.http.items import CUSTOM_ID
from backburner.http.provider_options import check_options
from backburner.http.services import Services
from backburner.intake import open_intake, share_items
from backburner.model import Job, NewJob, Principal
from backburner.states import ItemStatus, JobType
from backburner.storage import batches, items, staging

MAX_NAMED = 10_000  # custom ids in one request; more fit in no query
RETRYABLE = (ItemStatus.ERRORED, ItemStatus.EXPIRED, ItemStatus.CANCELED)


class RetryRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Without a choice: every item that did not succeed."""

    statuses: Annotated[list[ItemStatus], msgspec.Meta(min_length=1)] | None = None
    custom_ids: (
        Annotated[
            list[Annotated[str, msgspec.Meta(pattern=CUSTOM_ID)]], msgspec.Meta(min_length=1, max_length=MAX_NAMED)
        ]
        | None
    ) = None
    callback_url: str | msgspec.UnsetType | None = msgspec.UNSET


@attrs.frozen(kw_only=True)
class Choice:
    """Which items are run again: those named, else those that ended so."""

    statuses: Sequence[ItemStatus]
    custom_ids: Sequence[str] | None


async def retry_batch(call: Call, job_id: str) -> Response:
    """202 and the new job, whose `retry_of` names the old one."""
    call.query()
    asked = await call.json(RetryRequest)
    choice = _choice(asked)
    if isinstance(asked.callback_url, str):
        check_callback(call.services, asked.callback_url)
    job = await find_batch(call, job_id)
    if not job.status.is_terminal:
        raise Conflict("job_not_terminal", f"The job is {job.status}; its items can be retried when it has ended.")
    await _check_named(call.services, job, choice)
    return await _make(call, job, choice, await _new_job(call.services, call.principal, job, asked))


def _choice(asked: RetryRequest) -> Choice:
    if asked.statuses is not None and asked.custom_ids is not None:
        raise Invalid("Choose items by `statuses` or by `custom_ids`, not by both.", param="custom_ids")
    for index, status in enumerate(asked.statuses or ()):
        if status not in RETRYABLE:
            raise Invalid(f"Items that are {status} are not retried.", param=f"statuses[{index}]")
    return Choice(statuses=asked.statuses or RETRYABLE, custom_ids=asked.custom_ids)


async def _check_named(services: Services, job: Job, choice: Choice) -> None:
    if choice.custom_ids is None:
        return
    found = await services.database.read(
        items.retryable, job, statuses=(), custom_ids=choice.custom_ids, after=-1, limit=MAX_NAMED
    )
    known = {shared.custom_id for _, shared in found}
    unknown = [
        {"index": index, "custom_id": custom_id, "param": f"custom_ids[{index}]", "message": "No such item."}
        for index, custom_id in enumerate(choice.custom_ids)
        if custom_id not in known
    ]
    if unknown:
        raise Invalid(
            f"The job has no item {unknown[0]['custom_id']!r}.",
            code="custom_id_unknown",
            param=str(unknown[0]["param"]),
            details=unknown[:1000],
        )


async def _new_job(services: Services, principal: Principal, job: Job, asked: RetryRequest) -> NewJob:
    options = await services.database.read(batches.provider_options, job.key)
    check_options(options, is_operator=principal.is_operator, allowed=services.tenant_provider_headers)
    return NewJob(
        id=services.ids.new("job"),
        job_type=JobType.BATCH,
        organization_key=principal.organization_key,
        user_key=principal.user_key,
        created_at=services.clock.now(),
        provider=job.provider,
        provider_options=options,
        metadata=job.metadata,
        request_config=job.request_config,
        callback_url=job.callback_url if asked.callback_url is msgspec.UNSET else asked.callback_url,
        priority=job.priority,
        agent=job.agent,
        retry_of=job.id,
        requests_of=await services.database.read(items.requests_of, job.key),
    )


async def _make(call: Call, job: Job, choice: Choice, new: NewJob) -> Response:
    services, limits = call.services, call.services.limits
    intake = await open_intake(services.database, services.clock, services.ids)
    try:
        await share_items(intake, job, statuses=choice.statuses, custom_ids=choice.custom_ids)
        if intake.count == 0:
            raise Conflict("nothing_to_retry", "No item of the job ended so.")
        planned = await intake.plan(chunk_items=limits.chunk_items, chunk_bytes=limits.chunk_bytes)
        answer = await call.make(
            partial(told_of_batch, services),
            staging.make_job,
            intake.key,
            new,
            planned,
            now=services.clock.now(),
            quotas=services.quotas,
        )
    except BackburnerError:
        with trio.move_on_after(DROP_SECONDS, shield=True):
            await drop(intake)
        raise
    services.work()
    return answer
