"""What an operator decides about batches of a provider that is not configured any more."""

from __future__ import annotations

from typing import Annotated

import msgspec
from quart import Response

from backburner.errors import Conflict, Invalid
from backburner.http.call import Call, answer_of
from backburner.storage import absent
from backburner.storage.absent import Decided
from backburner.storage.idempotency import Answer

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Move(msgspec.Struct, forbid_unknown_fields=True):
    """Which provider gets them."""

    to: Name


class End(msgspec.Struct, forbid_unknown_fields=True):
    """Whether also those that the provider has, or may have: nothing more of them will be read."""

    at_provider: bool = False


async def move_batches(call: Call, provider: str) -> Response:
    """Have what was planned for an absent provider sent to one that is configured."""
    call.query()
    call.require_operator()
    asked = await call.json(Move)
    services = call.services
    _require_absent(call, provider)
    if asked.to not in services.providers:
        known = ", ".join(sorted(services.providers))
        raise Invalid(f"There is no provider {asked.to!r} here; there is: {known}.", param="to")
    answer = await call.make(_told, absent.move_planned, provider, asked.to, now=services.clock.now())
    services.work()
    return answer


async def end_batches(call: Call, provider: str) -> Response:
    """End what was planned for an absent provider; with `at_provider` also what it has. Some hundreds at a time."""
    call.query()
    call.require_operator()
    asked = await call.json(End)
    services = call.services
    _require_absent(call, provider)
    answer = await call.make(
        _told,
        absent.end_batches,
        provider,
        at_provider=asked.at_provider,
        now=services.clock.now(),
        ids=services.ids,
    )
    services.changes.all_changed()
    services.work()
    return answer


def _require_absent(call: Call, provider: str) -> None:
    if provider in call.services.providers:
        raise Conflict("provider_configured", f"{provider} is configured; cancel jobs to end their batches.")


def _told(decided: Decided) -> Answer:
    return answer_of(
        {
            "object": "provider",
            "name": decided.provider,
            "batches": decided.batches,
            "moved_to": decided.moved_to,
            "ended_job_ids": [job.id for job in decided.ended_jobs],
            "has_more": decided.has_more,
        }
    )
