"""The operator's view of polling and submitting, and the switches."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from quart import Response

from backburner.figures import QueueFigures
from backburner.http.background import background_json
from backburner.http.call import Call, reply
from backburner.http.services import InstanceStatus, Services
from backburner.http.shapes import scheduler_json
from backburner.http.warnings import warnings
from backburner.storage.database import Tx
from backburner.storage.notifications import announce_work
from backburner.storage.overview import Overview, ask_to_step_down, overview, pause, resume
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
    seen, queue = await services.database.read(_seen, now=services.clock.now())
    shown = scheduler_json(instance, seen, services.providers) | background_json(instance, queue)
    return shown | {"warnings": await warnings(services, instance, queue)}


def _seen(tx: Tx, *, now: datetime) -> tuple[Overview, QueueFigures]:
    return overview(tx), queue_figures(tx, now=now)
