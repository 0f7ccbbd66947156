"""A job's webhooks: the log of attempts, and sending one again."""

from __future__ import annotations

from quart import Response

from backburner.http import paging
from backburner.http.call import Call, answer_of, reply
from backburner.http.jobs import find_job
from backburner.http.paging import Page, envelope, require_id
from backburner.http.shapes import delivery_json
from backburner.storage import deliveries

DELIVERIES_QUERY = paging.parameters("delivery")


async def list_deliveries(call: Call, job_id: str) -> Response:
    """A job owes few of them, so the list is cut here."""
    page = Page.of(call.query(DELIVERIES_QUERY))
    job = await find_job(call, job_id)
    found = await call.services.database.read(deliveries.deliveries_of, job.key)
    rows, has_more = page.cut(found, lambda delivery: delivery.id)
    return reply(envelope([delivery_json(delivery) for delivery in rows], has_more))


async def redeliver(call: Call, job_id: str, delivery_id: str) -> Response:
    """202: it will be sent again now, with the same `webhook-id`."""
    await call.nothing()
    job = await find_job(call, job_id)
    require_id("delivery", delivery_id)
    services = call.services
    answer = await call.make(
        lambda delivery: answer_of(delivery_json(delivery), 202),
        deliveries.redeliver,
        job.key,
        delivery_id,
        now=services.clock.now(),
    )
    services.work()
    return answer
