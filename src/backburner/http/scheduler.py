"""The operator's view of polling and submitting, and the switches."""

from __future__ import annotations

from typing import Any

from quart import Response

from backburner.http.background import background_json
from backburner.http.call import Call, reply
from backburner.http.services import InstanceStatus, Services
from backburner.http.shapes import scheduler_json
from backburner.storage.notifications import announce_work
from backburner.storage.overview import ask_to_step_down, overview, pause, resume
from backburner.storage.work import queue_figures


async def get_status(call: Call) -> Response:
    """Who leads, what is open, how the last cycle went."""
    call.query()
    call.require_operator()
    return reply(await _status(call.services))


async def poll(call: Call) -> Response:
    """Tick now, whichever instance leads."""
    await _switching(call)
    call.services.poll_now()
    await call.change(announce_work)
    return reply(await _status(call.services))


async def pause_polling(call: Call) -> Response:
    """No batch is polled or submitted any more, on any instance and through restarts, until `resume`."""
    await _switching(call)
    await call.change(pause, now=call.services.clock.now())
    return reply(await _status(call.services))


async def resume_polling(call: Call) -> Response:
    """Go on, and try a provider again that waits for a person."""
    await _switching(call)
    await call.change(resume, now=call.services.clock.now())
    call.services.work()
    call.services.poll_now()
    return reply(await _status(call.services))


async def step_down(call: Call) -> Response:
    """Whoever leads gives the office away, within moments; 409 when nobody has led yet."""
    await _switching(call)
    call.services.step_down(await call.change(ask_to_step_down))
    return reply(await _status(call.services))


async def _switching(call: Call) -> None:
    await call.nothing()
    call.require_operator()


async def _status(services: Services) -> dict[str, Any]:
    instance: InstanceStatus = services.status()
    queue = await services.database.read(queue_figures, now=services.clock.now())
    found = scheduler_json(instance, await services.database.read(overview), services.providers)
    return found | background_json(services, instance, queue)
