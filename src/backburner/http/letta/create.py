"""`POST /letta/v1/messages/batches`: a batch job, one request for each agent."""

from __future__ import annotations

from datetime import datetime

import msgspec
import trio
from quart import Response

from backburner.batch_report import Report
from backburner.checked_intake import DROP_SECONDS, CheckedIntake, drop
from backburner.errors import BackburnerError, Conflict, Invalid
from backburner.http.anthropic.headers import attempt_of
from backburner.http.body import JSON, open_body
from backburner.http.call import Call, answer_of
from backburner.http.checked import checked_intake
from backburner.http.checks import check_callback
from backburner.http.idempotency import body_hash, watch_body
from backburner.http.letta.job_shapes import batch_json
from backburner.http.letta.requests import checker
from backburner.http.requests_reader import RequestsReader
from backburner.http.strict import decode_in_steps
from backburner.intake import Intake
from backburner.model import NewJob
from backburner.states import JobType
from backburner.steps import patiently
from backburner.storage.repeats import Attempt, make_job_once

ROUTE = "POST /letta/v1/messages/batches#body"
METADATA = {"job_type": "batch_messages"}


class Others(msgspec.Struct):
    """What a body says beside its requests. The word None stands for no URL: Letta itself stored it so."""

    callback_url: str | None = None


async def create_batch(call: Call) -> Response:
    """The batch; the one already made, when the client repeats a request whose answer it did not get."""
    if attempt_of(call.request.headers) == 0:  # a repetition may ask for what is there already
        await call.require_room()
    if call.held is None:
        watch_body(call.request)
    call.provider_options()  # refused before anything is read
    began = call.services.clock.now()
    upload = checked_intake(call.services, report=Report("index"), check=checker(call.services.letta))
    try:
        callback_url = _callback(call, await _read(call, upload))
        return await _make(call, await _finished(upload), _new_job(call, callback_url, began))
    except BackburnerError:
        with trio.move_on_after(DROP_SECONDS, shield=True):
            await drop(upload.intake)
        raise


async def _read(call: Call, upload: CheckedIntake) -> Others:
    limits = call.services.limits
    body = open_body(call.request, limit=limits.max_request_bytes, allowed=(JSON,))
    reader = RequestsReader(max_item_bytes=limits.max_item_bytes)
    while piece := await body.next():
        for number, requests in enumerate(reader.feed(piece)):
            if number:
                await trio.lowlevel.checkpoint()
            await upload.take(enumerate(requests, upload.taken))
    return await patiently(decode_in_steps(reader.finish(), Others))


async def _finished(upload: CheckedIntake) -> Intake:
    try:
        return await upload.finish()
    except Invalid as error:
        if error.code == "custom_id_duplicate":
            raise Conflict("custom_id_duplicate", "An agent can have one request in a batch.") from None
        raise


def _callback(call: Call, others: Others) -> str | None:
    url = others.callback_url
    if url is None or url == "None":
        return None
    check_callback(call.services, url)
    return url


def _new_job(call: Call, callback_url: str | None, began: datetime) -> NewJob:
    return NewJob(
        id=call.services.ids.new("job"),
        job_type=JobType.BATCH,
        organization_key=call.principal.organization_key,
        user_key=call.principal.user_key,
        created_at=began,
        provider=call.services.provider,
        provider_options=call.provider_options(),
        metadata=METADATA,
        callback_url=callback_url,
    )


async def _make(call: Call, intake: Intake, new: NewJob) -> Response:
    services = call.services
    planned = await intake.plan(chunk_items=services.limits.chunk_items, chunk_bytes=services.limits.chunk_bytes)
    attempt = Attempt(
        caller=call.principal.key_id,
        body_hash=body_hash(call.request),
        number=attempt_of(call.request.headers),
        began=new.created_at,
        route=ROUTE,
    )
    answer = await call.make(
        lambda job: answer_of(batch_json(job)),
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
