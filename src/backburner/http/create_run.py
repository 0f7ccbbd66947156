"""`POST /v1/runs`: one conversation of an agent; and a fork, which goes on from a step of an earlier one."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Annotated, Any

import attrs
import msgspec
import trio
from quart import Response

from backburner.agent_options import AgentOptions, agent_of, kept
from backburner.checked_intake import DROP_SECONDS, drop
from backburner.errors import BackburnerError, Invalid, NotFound
from backburner.http.agent_body import AgentDocument, agent_options
from backburner.http.batch_options import INT32, LONGEST_DEADLINE
from backburner.http.call import Call
from backburner.http.checks import check_callback
from backburner.http.conversation_ids import PATTERNS, made_id, parsed
from backburner.http.create_batch import told_of_batch
from backburner.http.items import CheckedItem, check_in_steps
from backburner.http.runs import find_item, find_steps
from backburner.intake import open_intake
from backburner.job_metadata import check_metadata
from backburner.model import Job, NewItem, NewJob
from backburner.request_config import check_request_config
from backburner.states import JobType
from backburner.steps import patiently
from backburner.storage import agent_requests, staging

CUSTOM_ID = "run"  # of the one item that a run has

_Label = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class RunOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a new run may say besides its request. Absent and null are the same."""

    agent: AgentDocument | None = None
    agent_id: _Label | None = None
    callback_url: str | None = None
    metadata: dict[str, Any] | None = None
    request_config: dict[str, Any] | None = None
    priority: Annotated[int, msgspec.Meta(ge=INT32[0], le=INT32[1])] | None = None
    deadline_seconds: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_DEADLINE)] | None = None
    provider: str | None = None


class NewRun(RunOptions, kw_only=True, forbid_unknown_fields=True):
    """A run about to be made. `params` are what the provider's Messages API takes."""

    params: dict[str, Any]


class Fork(RunOptions, kw_only=True, forbid_unknown_fields=True):
    """A run that goes on from a step of another: by default from its last. `params` replace members of the request."""

    step: Annotated[str, msgspec.Meta(pattern=rf"\Astep-{PATTERNS['step']}\Z")] | None = None
    round: Annotated[int, msgspec.Meta(ge=1, le=999_999)] | None = None
    params: dict[str, Any] | None = None


@attrs.frozen(kw_only=True)
class _Beginning:
    """With what a run begins."""

    params: dict[str, Any]
    agent: AgentOptions
    agent_id: str | None
    provider: str
    metadata: dict[str, Any]


async def create_run(call: Call) -> Response:
    """202 and the job, of type `run`."""
    call.query()
    asked = await call.json(NewRun)
    _check(call, asked)
    begin = _Beginning(
        params=asked.params,
        agent=agent_options(call.services, asked.agent or AgentDocument()),
        agent_id=asked.agent_id,
        provider=asked.provider or call.services.provider,
        metadata=asked.metadata or {},
    )
    return await _make(call, asked, begin)


async def fork_run(call: Call, run_id: str) -> Response:
    """202 and the job of the new run; its first request is that of the step."""
    call.query()
    asked = await call.json(Fork)
    _check(call, asked)
    job, index = await find_item(call, run_id)
    number = await _round(call, asked, job, index)
    request = await call.services.database.read(agent_requests.request_of, job.key, index, number)
    begin = _Beginning(
        params={**msgspec.json.decode(request), **(asked.params or {})},
        agent=_agent(call, asked, job),
        agent_id=asked.agent_id or (await find_steps(call, job, index))[0].step.agent_id,
        provider=asked.provider or job.provider or call.services.provider,
        metadata=job.metadata if asked.metadata is None else asked.metadata,
    )
    return await _make(call, asked, begin)


def _agent(call: Call, asked: Fork, job: Job) -> AgentOptions:
    if asked.agent is not None:
        return agent_options(call.services, asked.agent)
    return AgentOptions() if job.agent is None else agent_of(job.agent)


async def _round(call: Call, asked: Fork, job: Job, index: int) -> int:
    """The round from which the fork goes on. Raises Invalid and NotFound."""
    if asked.step is not None and asked.round is not None:
        raise Invalid("Choose by `step` or by `round`, not by both.", param="round")
    rounds = [told.step.round for told in await find_steps(call, job, index)]
    if asked.step is not None:
        job_id, (of_item, number) = parsed("step", asked.step)
        if (job_id, of_item) != (job.id, index):
            raise Invalid("The step is not one of this run's.", param="step")
    else:
        number = asked.round or (rounds[-1] if rounds else 1)
    if number not in rounds:
        raise NotFound("step", made_id("step", job.id, index, number))
    return number


def _check(call: Call, asked: RunOptions) -> None:
    services = call.services
    check_metadata(asked.metadata or {})
    check_request_config(asked.request_config or {})
    if asked.callback_url is not None:
        check_callback(services, asked.callback_url)
    if asked.provider is not None and asked.provider not in services.providers:
        known = ", ".join(sorted(services.providers))
        message = f"There is no provider {asked.provider!r} here; known: {known}."
        raise Invalid(message, code="unknown_provider", param="provider")


async def _make(call: Call, asked: RunOptions, begin: _Beginning) -> Response:
    call.provider_options()  # refused before anything is staged
    services, item = call.services, await _item(begin)
    intake = await open_intake(services.database, services.clock, services.ids)
    try:
        await intake.add(NewItem(item.custom_id, item.params.decode(), len(item.params), begin.agent_id))
        answer = await call.make(
            partial(told_of_batch, services),
            staging.make_job,
            intake.key,
            _new_job(call, asked, begin),
            await intake.plan(chunk_items=1, chunk_bytes=services.limits.chunk_bytes),
            now=services.clock.now(),
            quotas=services.quotas,
        )
    except BackburnerError:
        with trio.move_on_after(DROP_SECONDS, shield=True):
            await drop(intake)
        raise
    services.work()
    return answer


async def _item(begin: _Beginning) -> CheckedItem:
    raw = msgspec.json.encode({"custom_id": CUSTOM_ID, "params": begin.params})
    found = await patiently(check_in_steps(raw))
    if isinstance(found, CheckedItem):
        return found
    fault = found[0]
    raise Invalid(fault.message, param=fault.param or "params")


def _new_job(call: Call, asked: RunOptions, begin: _Beginning) -> NewJob:
    now = call.services.clock.now()
    seconds = asked.deadline_seconds
    return NewJob(
        id=call.services.ids.new("job"),
        job_type=JobType.RUN,
        organization_key=call.organization_key,
        user_key=call.principal.user_key,
        created_at=now,
        provider=begin.provider,
        provider_options=call.provider_options(),
        metadata=begin.metadata,
        request_config=asked.request_config or {},
        callback_url=asked.callback_url,
        priority=asked.priority or 0,
        deadline_at=None if seconds is None else now + timedelta(seconds=seconds),
        agent_id=begin.agent_id,
        agent=kept(begin.agent),
    )
