"""`POST /anthropic/v1/messages/batches`: a job like any other, made by Anthropic's clients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec
import trio
from quart import Response

from backburner.batch_report import Report
from backburner.checked_intake import DROP_SECONDS, CheckedIntake, drop
from backburner.errors import BackburnerError
from backburner.http.anthropic.headers import attempt_of
from backburner.http.anthropic.shapes import batch_json, root_of
from backburner.http.body import JSON, open_body
from backburner.http.call import Call, answer_of
from backburner.http.checked import checked_intake
from backburner.http.idempotency import body_hash, watch_body
from backburner.http.items import check_in_steps
from backburner.http.requests_reader import RequestsReader
from backburner.http.services import Services
from backburner.http.strict import decode_in_steps
from backburner.intake import Intake
from backburner.model import NewJob
from backburner.states import JobType
from backburner.steps import patiently
from backburner.storage.repeats import Attempt, make_job_once


class Others(msgspec.Struct, forbid_unknown_fields=True):
    """What a body may say beside its requests: nothing."""


async def create_batch(call: Call) -> Response:
    """The batch; the one already made, when the client repeats a request whose answer it did not get."""
    services, request = call.services, call.request
    options = call.provider_options()
    if attempt_of(request.headers) == 0:  # a repetition may ask for what is there already
        await call.require_room()
    if call.held is None:
        watch_body(request)
    new = _new_job(call, options)
    # Only what belongs to the batch is checked: wrong params make an errored result, as they do there.
    upload = checked_intake(services, report=Report("index"), check=partial(check_in_steps, loose=True))
    try:
        return await _make(call, await _read(call, upload), new)
    except BackburnerError:
        with trio.move_on_after(DROP_SECONDS, shield=True):
            await drop(upload.intake)
        raise


async def _read(call: Call, upload: CheckedIntake) -> Intake:
    limits = call.services.limits
    body = open_body(call.request, limit=limits.max_request_bytes, allowed=(JSON,))
    reader = RequestsReader(max_item_bytes=limits.max_item_bytes)
    while piece := await body.next():
        for number, requests in enumerate(reader.feed(piece)):
            if number:
                await trio.lowlevel.checkpoint()
            await upload.take(enumerate(requests, upload.taken))
    await patiently(decode_in_steps(reader.finish(), Others))
    return await upload.finish()


def _new_job(call: Call, options: Mapping[str, str]) -> NewJob:
    services: Services = call.services
    return NewJob(
        id=services.ids.new("job"),
        job_type=JobType.BATCH,
        organization_key=call.principal.organization_key,
        user_key=call.principal.user_key,
        created_at=services.clock.now(),
        provider=services.provider,
        provider_options=options,
    )


async def _make(call: Call, intake: Intake, new: NewJob) -> Response:
    services, request = call.services, call.request
    planned = await intake.plan(chunk_items=services.limits.chunk_items, chunk_bytes=services.limits.chunk_bytes)
    attempt = Attempt(
        caller=call.principal.key_id,
        body_hash=body_hash(request),
        number=attempt_of(request.headers),
        began=new.created_at,
    )
    root = root_of(services)
    answer = await call.make(
        lambda job: answer_of(batch_json(job, root)),
        make_job_once,
        attempt,
        intake.key,
        new,
        planned,
        now=services.clock.now(),
        quotas=services.quotas,
    )
    services.work()
    return answer
