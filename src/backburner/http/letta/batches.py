"""Message batches."""

from __future__ import annotations

from quart import Response

from backburner.http.batches import find_batch
from backburner.http.call import Call, reply
from backburner.http.letta.asked import Asked
from backburner.http.letta.job_shapes import batch_json
from backburner.http.letta.jobs import cancelled, listed
from backburner.http.letta.message_shapes import batch_message
from backburner.http.letta.pages import page_of_messages
from backburner.http.letta.requests import custom_id_of
from backburner.states import JobType


async def list_batches(call: Call) -> Response:
    """Batches, newest first; those that have ended too, which Letta itself left out."""
    asked = Asked.of(call)
    found = await listed(call, asked, JobType.BATCH, ascending=asked.ascending())
    return reply([batch | {"background": False} for batch in found])


async def get_batch(call: Call, job_id: str) -> Response:
    """The batch, however it was made."""
    return reply(batch_json(await find_batch(call, job_id)))


async def cancel_batch(call: Call, job_id: str) -> Response:
    """The batch. 409 when it has ended otherwise."""
    await find_batch(call, job_id)
    return reply(batch_json(await cancelled(call, job_id)))


async def list_messages(call: Call, job_id: str) -> Response:
    """`{"messages": […]}`, those of the last requests first."""
    asked = Asked.of(call)
    job = await find_batch(call, job_id)
    agent = asked.text("agent_id")
    found = await page_of_messages(
        call,
        job,
        asked,
        custom_id=None if agent is None else custom_id_of(agent),
        ascending=asked.ascending(),
    )
    return reply({"messages": [batch_message(message) for message in found]})
