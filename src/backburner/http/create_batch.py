"""`POST /v1/batches`: a batch of any size, read as it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial

import attrs
import trio
from quart import Response

from backburner.agent_options import kept
from backburner.batch_report import Report
from backburner.checked_intake import DROP_SECONDS, CheckedIntake, drop
from backburner.errors import BackburnerError, Invalid
from backburner.http.batch_options import (
    JSON_QUERY,
    NDJSON_QUERY,
    BatchOptions,
    options_of_document,
    options_of_query,
)
from backburner.http.body import JSON, NDJSON, BodyStream, media_type, open_body
from backburner.http.call import Call, answer_of, reply
from backburner.http.checked import checked_intake
from backburner.http.checks import location
from backburner.http.requests_reader import RequestsReader
from backburner.http.services import Services
from backburner.http.shapes import job_json
from backburner.intake import Intake
from backburner.model import Job, NewJob, Principal
from backburner.states import JobType
from backburner.storage import staging
from backburner.storage.idempotency import Answer
from backburner.streams import LineSplitter

#: In a JSON body up to this size `defaults` may stand anywhere; in a larger one they come before `requests`.
ANY_ORDER_BYTES = 1024 * 1024


async def create_batch(call: Call) -> Response:
    """202 and the job; 200 for a dry run, which checks everything and keeps nothing."""
    services = call.services
    kind = media_type(call.request, (JSON, NDJSON))
    headers = call.provider_options()
    await call.require_room()
    asked = call.query(NDJSON_QUERY if kind == NDJSON else JSON_QUERY)
    options = options_of_query(services, asked) if kind == NDJSON else None
    body = open_body(call.request, limit=services.limits.max_request_bytes)
    upload = checked_intake(services, report=Report("index" if options is None else "line"))
    try:
        options = await (_read_json(services, body, upload) if options is None else _read_lines(body, upload, options))
        intake = await upload.finish()
        if asked["dry_run"]:
            await drop(upload.intake)
            return reply(_checked(intake, options))
        return await _make(call, intake, options, headers)
    except BackburnerError:
        with trio.move_on_after(DROP_SECONDS, shield=True):
            await drop(upload.intake)
        raise


async def _read_lines(body: BodyStream, upload: CheckedIntake, options: BatchOptions) -> BatchOptions:
    splitter = LineSplitter(max_line_bytes=upload.limits.max_item_bytes)
    while piece := await body.next():
        await upload.take(splitter.feed(piece))
    await upload.take(splitter.finish())
    return options


async def _read_json(services: Services, body: BodyStream, upload: CheckedIntake) -> BatchOptions:
    reader = RequestsReader(max_item_bytes=services.limits.max_item_bytes)
    held: list[bytes | None] = []
    size = 0
    while piece := await body.next():
        size += len(piece)
        for number, requests in enumerate(reader.feed(piece)):
            if number:
                await trio.lowlevel.checkpoint()
            held += requests
        if size > ANY_ORDER_BYTES and held:
            if not upload.taken:
                upload.defaults = (await options_of_document(services, reader.members())).defaults
            await _take_all(upload, held)
    options = await options_of_document(services, reader.finish())
    if not upload.taken:
        upload.defaults = options.defaults
    elif options.defaults and not upload.defaults:
        raise Invalid(
            f"In a body of more than {ANY_ORDER_BYTES} bytes `defaults` must come before `requests`.",
            code="defaults_too_late",
            param="defaults",
        )
    await _take_all(upload, held)
    return options


async def _take_all(upload: CheckedIntake, held: list[bytes | None]) -> None:
    await upload.take(enumerate(held, upload.taken))
    held.clear()


async def _make(call: Call, intake: Intake, options: BatchOptions, headers: Mapping[str, str]) -> Response:
    services = call.services
    new = attrs.evolve(_new_job(services, call.principal, options), provider_options=headers)
    chunk_items = options.chunk_items or services.limits.chunk_items
    added = 0 if options.agent is None else options.agent.added_bytes()
    planned = await intake.plan(chunk_items=chunk_items, chunk_bytes=services.limits.chunk_bytes, added_bytes=added)
    answer = await call.make(
        partial(told_of_batch, services),
        staging.make_job,
        intake.key,
        new,
        planned,
        now=services.clock.now(),
        quotas=services.quotas,
    )
    services.work()
    return answer


def told_of_batch(services: Services, job: Job) -> Answer:
    """202 and where the new job is."""
    return answer_of(job_json(job), 202, location(services, job))


def _new_job(services: Services, principal: Principal, options: BatchOptions) -> NewJob:
    now = services.clock.now()
    seconds = options.deadline_seconds
    return NewJob(
        id=services.ids.new("job"),
        job_type=JobType.BATCH,
        organization_key=principal.organization_key,
        user_key=principal.user_key,
        created_at=now,
        provider=options.provider,
        metadata=options.metadata,
        request_config=options.request_config,
        callback_url=options.callback_url,
        priority=options.priority,
        deadline_at=None if seconds is None else now + timedelta(seconds=seconds),
        agent=None if options.agent is None else kept(options.agent),
    )


def _checked(intake: Intake, options: BatchOptions) -> dict[str, object]:
    counts = dict.fromkeys(("succeeded", "errored", "canceled", "expired"), 0)
    return {
        "object": "dry_run",
        "valid": True,
        "provider": options.provider,
        "request_counts": {"total": intake.count, "processing": intake.count, **counts},
    }
