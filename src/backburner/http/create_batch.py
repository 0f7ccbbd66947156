"""`POST /v1/batches`: a batch of any size, read as it arrives."""

from __future__ import annotations

from datetime import timedelta

from quart import Response

from backburner.errors import BackburnerError, Invalid
from backburner.http.batch_options import (
    JSON_QUERY,
    NDJSON_QUERY,
    BatchOptions,
    options_of_document,
    options_of_query,
)
from backburner.http.batch_report import Report
from backburner.http.body import JSON, NDJSON, BodyStream, media_type, open_body
from backburner.http.call import Call, reply
from backburner.http.checks import location
from backburner.http.ndjson import LineReader
from backburner.http.requests_reader import RequestsReader
from backburner.http.services import Services
from backburner.http.shapes import job_json
from backburner.http.upload import Upload, drop
from backburner.intake import Intake
from backburner.model import Job, NewJob, Principal
from backburner.states import JobType

#: In a JSON body up to this size `defaults` may stand anywhere; in a larger one they come before `requests`.
ANY_ORDER_BYTES = 1024 * 1024


async def create_batch(call: Call) -> Response:
    """202 and the job; 200 for a dry run, which checks everything and keeps nothing."""
    services = call.services
    kind = media_type(call.request, (JSON, NDJSON))
    asked = call.query(NDJSON_QUERY if kind == NDJSON else JSON_QUERY)
    options = options_of_query(services, asked) if kind == NDJSON else None
    body = open_body(call.request, limit=services.limits.max_request_bytes)
    upload = Upload(services=services, report=Report("index" if options is None else "line"))
    try:
        options = await (_read_json(services, body, upload) if options is None else _read_lines(body, upload, options))
        intake = await upload.finish()
        if asked["dry_run"]:
            await drop(upload.intake)
            return reply(_checked(intake, options))
        job = await _make(services, call.principal, intake, options)
    except BackburnerError:
        await drop(upload.intake)
        raise
    services.work()
    return reply(job_json(job), 202, location(services, job))


async def _read_lines(body: BodyStream, upload: Upload, options: BatchOptions) -> BatchOptions:
    reader = LineReader(upload.services.limits.max_item_bytes)
    while piece := await body.next():
        await upload.take(reader.feed(piece))
    await upload.take(reader.finish())
    return options


async def _read_json(services: Services, body: BodyStream, upload: Upload) -> BatchOptions:
    reader = RequestsReader(max_item_bytes=services.limits.max_item_bytes)
    held: list[bytes | None] = []
    size = 0
    while piece := await body.next():
        size += len(piece)
        held += reader.feed(piece)
        if size > ANY_ORDER_BYTES and held:
            if not upload.taken:
                upload.defaults = options_of_document(services, reader.members()).defaults
            await _take_all(upload, held)
    options = options_of_document(services, reader.finish())
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


async def _take_all(upload: Upload, held: list[bytes | None]) -> None:
    await upload.take(enumerate(held, upload.taken))
    held.clear()


async def _make(services: Services, principal: Principal, intake: Intake, options: BatchOptions) -> Job:
    now = services.clock.now()
    seconds = options.deadline_seconds
    new = NewJob(
        id=services.ids.new("job"),
        job_type=JobType.BATCH,
        organization_key=principal.organization_key,
        user_key=principal.user_key,
        created_at=now,
        provider=options.provider,
        metadata=options.metadata,
        callback_url=options.callback_url,
        priority=options.priority,
        deadline_at=None if seconds is None else now + timedelta(seconds=seconds),
    )
    return await intake.finish(
        new,
        chunk_items=options.chunk_items or services.limits.chunk_items,
        chunk_bytes=services.limits.chunk_bytes,
    )


def _checked(intake: Intake, options: BatchOptions) -> dict[str, object]:
    counts = dict.fromkeys(("succeeded", "errored", "canceled", "expired"), 0)
    return {
        "object": "dry_run",
        "valid": True,
        "provider": options.provider,
        "request_counts": {"total": intake.count, "processing": intake.count, **counts},
    }
