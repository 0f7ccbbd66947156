"""Provider batches of everybody, for the operator: what became of them, and what a person decides about them."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import attrs
import msgspec
from quart import Response

from backburner.http import paging
from backburner.http.call import Call, answer_of, reply
from backburner.http.paging import Page, envelope, require_id
from backburner.http.query import Parameter, one_of
from backburner.http.shapes import unresolved_json
from backburner.model import Job, ProviderBatch
from backburner.states import BatchStatus
from backburner.storage import by_hand
from backburner.storage.idempotency import Answer
from backburner.storage.pages import Cut

UNRESOLVED_QUERY = paging.parameters("batch", order="asc")
BATCHES_QUERY = {
    **paging.parameters("batch"),
    "status": Parameter(convert=one_of([*BatchStatus]), many=True),
}


class Adoption(msgspec.Struct, forbid_unknown_fields=True):
    """Which provider batch it is."""

    provider_batch_id: Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_.\-]+$")]


async def list_batches(call: Call) -> Response:
    """Of every organization, newest first."""
    asked = call.query(BATCHES_QUERY)
    call.require_operator()
    statuses = [BatchStatus(status) for status in asked["status"]]
    cut = Cut(**attrs.asdict(Page.of(asked)))
    rows, has_more = await call.services.database.read(by_hand.list_batches, statuses=statuses, cut=cut)
    return reply(envelope([unresolved_json(batch) for batch in rows], has_more))


async def get_batch(call: Call, batch_id: str) -> Response:
    """One of them."""
    call.query()
    call.require_operator()
    require_id("batch", batch_id)
    return reply(unresolved_json(await call.services.database.read(by_hand.find_batch, batch_id)))


async def list_unresolved(call: Call) -> Response:
    """Provider batches of which it is not known whether the provider has them, oldest first."""
    page = Page.of(call.query(UNRESOLVED_QUERY))
    call.require_operator()
    found = await call.services.database.read(by_hand.unresolved)
    rows, has_more = page.cut(found, lambda batch: batch.id)
    return reply(envelope([unresolved_json(batch) for batch in rows], has_more))


async def abandon_batch(call: Call, batch_id: str) -> Response:
    """Give up such a batch: its items end as errored."""
    await _deciding(call, batch_id)
    services = call.services
    answer = await call.make(
        partial(_told_of_end, batch_id), by_hand.abandon, batch_id, now=services.clock.now(), ids=services.ids
    )
    services.changes.all_changed()
    services.work()
    return answer


def _told_of_end(batch_id: str, ended: Job | None) -> Answer:
    job_id = None if ended is None else ended.id
    return answer_of({"id": batch_id, "object": "provider_batch", "status": "closed", "ended_job_id": job_id})


async def adopt_batch(call: Call, batch_id: str) -> Response:
    """Such a batch is the provider's batch that the body names."""
    call.query()
    call.require_operator()
    asked = await call.json(Adoption)
    require_id("batch", batch_id)
    services = call.services
    answer = await call.make(_told_of_batch, by_hand.adopt, batch_id, asked.provider_batch_id, now=services.clock.now())
    services.work()
    return answer


def _told_of_batch(batch: ProviderBatch) -> Answer:
    return answer_of(unresolved_json(batch))


async def poll_batch(call: Call, batch_id: str) -> Response:
    """Look at it at once, whatever it was waiting for."""
    await _deciding(call, batch_id)
    services = call.services
    answer = await call.make(_told_of_batch, by_hand.look_now, batch_id, now=services.clock.now())
    services.work()
    return answer


async def _deciding(call: Call, batch_id: str) -> None:
    await call.nothing()
    call.require_operator()
    require_id("batch", batch_id)
