"""`POST /v1/jobs`: a job that a handler executes, or that its owner moves from outside."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from quart import Response

from backburner.app import Handler
from backburner.errors import Invalid
from backburner.http.batch_options import LONGEST_DEADLINE
from backburner.http.call import Call, answer_of, reply
from backburner.http.checks import check_callback, location
from backburner.http.provider_options import refuse_options
from backburner.http.services import Services
from backburner.http.shapes import job_json
from backburner.http.strict import translated
from backburner.job_metadata import check_metadata
from backburner.model import Job, NewJob
from backburner.request_config import check_request_config
from backburner.states import JobType
from backburner.storage import handler_jobs, job_updates, jobs
from backburner.storage.idempotency import Answer

WAIT = 60.0  # seconds for an answer with the finished job, where the caller does not say
LONGEST_WAIT = 600.0  # seconds
LOOK_EVERY = 5.0  # seconds: a notification of another instance can be lost
_INT32 = (-(2**31), 2**31 - 1)

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=LONGEST_DEADLINE)]
_Words = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class NewJobRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What a new job may say. Absent and null are the same."""

    job_type: Literal["job"] | None = None
    handler: _Words | None = None
    input: Any = None
    background: bool | None = None
    metadata: dict[str, Any] | None = None
    request_config: dict[str, Any] | None = None
    callback_url: str | None = None
    priority: Annotated[int, msgspec.Meta(ge=_INT32[0], le=_INT32[1])] | None = None
    timeout_seconds: _Seconds | None = None
    deadline_seconds: _Seconds | None = None
    agent_id: _Words | None = None


async def create_job(call: Call) -> Response:
    """202 and the job; with `background: false` 200 and the finished job, or 202 when that takes too long."""
    call.query()
    asked = await call.json(NewJobRequest)
    _check(call.services, asked)
    new = _new_job(call, asked)
    job = await _made(call, new)
    if new.is_work:
        call.services.work()
    if not job.background:
        job = await _ended(call, job, min(asked.timeout_seconds or WAIT, LONGEST_WAIT))
    return reply(job_json(job), 200 if job.status.is_terminal else 202, location(call.services, job))


async def _made(call: Call, new: NewJob) -> Job:
    services = call.services
    told, now, quotas = partial(told_of_job, services), services.clock.now(), services.quotas
    if new.handler is None:
        return await call.write(told, job_updates.make_plain_job, new, now=now, quotas=quotas)
    queue = handler_jobs.QueueRules(services.handlers[new.handler].max_attempts, services.max_queued_jobs)
    return await call.write(told, handler_jobs.make_handler_job, new, queue, now=now, quotas=quotas)


def told_of_job(services: Services, job: Job) -> Answer:
    """202 and where the new job is."""
    return answer_of(job_json(job), 202, location(services, job))


def _check(services: Services, asked: NewJobRequest) -> None:
    if asked.handler is not None:
        _check_input(_handler(services, asked.handler), asked.input)
    check_metadata(asked.metadata or {})
    check_request_config(asked.request_config or {})
    if asked.callback_url is not None:
        check_callback(services, asked.callback_url)


def _handler(services: Services, name: str) -> Handler:
    handler = services.handlers.get(name)
    if handler is None:
        known = ", ".join(sorted(services.handlers)) or "none; `serve --app` loads some"
        message = f"There is no handler {name!r} here. Known handlers: {known}."
        raise Invalid(message, code="unknown_handler", param="handler")
    return handler


def _check_input(handler: Handler, given: Any) -> None:
    try:
        arguments = handler.signature.arguments(given)
        if handler.check is not None:
            handler.check(arguments)
    except msgspec.ValidationError as error:
        raise _of_input(translated(error)) from None
    except Invalid as error:
        raise _of_input(error) from None


def _of_input(wrong: Invalid) -> Invalid:
    place = f"input.{wrong.param}" if wrong.param else "input"
    return Invalid(str(wrong), code=wrong.code, param=place, details=wrong.details)


def _new_job(call: Call, asked: NewJobRequest) -> NewJob:
    refuse_options(call.request.headers)
    services, now = call.services, call.services.clock.now()
    seconds = asked.deadline_seconds
    return NewJob(
        id=services.ids.new("job"),
        job_type=JobType.JOB,
        organization_key=call.organization_key,
        user_key=call.principal.user_key,
        created_at=now,
        metadata=asked.metadata or {},
        request_config=asked.request_config or {},
        callback_url=asked.callback_url,
        priority=asked.priority or 0,
        deadline_at=None if seconds is None else now + timedelta(seconds=seconds),
        agent_id=asked.agent_id,
        handler=asked.handler,
        input=asked.input,
        background=asked.background is not False,
    )


async def _ended(call: Call, job: Job, seconds: float) -> Job:
    """The job at its end; after so many seconds, or when the server stops, as it is."""
    services = call.services
    until = services.clock.monotonic() + seconds
    with services.changes.listening(job.id) as ear:
        while True:
            job = await services.database.read(jobs.get_job, call.organization_key, job.id)
            left = until - services.clock.monotonic()
            if job.status.is_terminal or left <= 0 or services.stopping.is_set():
                return job
            await ear.heard(min(left, LOOK_EVERY))
