"""A host's clock jumps a day ahead and comes back: what was put off meanwhile is not put off for a day."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta

import attrs
import pytest
import trio
from tests.scenes import HOOK
from tests.test_handlers import queue
from tests.world import PACE, open_world, params

from backburner import App, TryAgainLater
from backburner.clock import TrioClock
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import DeliveryStatus, JobStatus
from backburner.storage.deliveries import deliveries_of

HOUR = 3600.0


@asynccontextmanager
async def world_in_a_jump(app=None, **options):
    """A world whose instances, unlike the provider, believe for twenty seconds that it is tomorrow."""
    async with open_world(pace=attrs.evolve(PACE, look=30.0), **options) as world:
        world.app = app or world.app
        world.clock = TrioClock(skew=timedelta(days=1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(come_back, world.clock)
            yield world


async def come_back(clock: TrioClock) -> None:
    await trio.sleep(20)
    clock.skew = timedelta()


@pytest.mark.parametrize(
    "fault", [None, "create:529@1-3", "create:401@1", "create:lost_response@1", "retrieve:500@1-2"]
)
async def test_a_batch_goes_on(fault, autojump_clock):
    async with world_in_a_jump(options=SandboxOptions(batch_seconds=(60, 60))) as world, world.instance() as system:
        if fault is not None:
            world.sandbox.faults.add(fault)
        job = await world.submit([params("x")] * 5, system=system)
        assert (await world.ended(system, job)).status is JobStatus.COMPLETED
    assert trio.current_time() < HOUR


async def test_a_webhook_is_attempted_again(autojump_clock):
    async with world_in_a_jump(options=SandboxOptions(batch_seconds=(5, 5))) as world, world.instance() as system:
        world.receiver.answers = [500] * 2
        job = await world.submit([params("x")], system=system, callback_url=HOOK)
        await world.ended(system, job)
        await trio.sleep(HOUR)
        (delivery,) = await world.database.read(deliveries_of, job.key)
        assert (delivery.status, len(delivery.attempts)) == (DeliveryStatus.DELIVERED, 3)


async def test_a_background_job_is_tried_again(autojump_clock):
    app = App()
    tries = []

    @app.handler("busy")
    def busy() -> None:
        tries.append(trio.current_time())
        if len(tries) == 1:
            raise TryAgainLater("not now", seconds=60)

    async with world_in_a_jump(app) as world, world.instance() as system:
        job = await queue(world, "busy", system=system)
        assert (await world.ended(system, job)).status is JobStatus.COMPLETED
    assert trio.current_time() < HOUR


async def test_a_background_job_that_was_queued_tomorrow_begins(autojump_clock):
    app = App()
    app.handler("easy")(lambda: None)
    async with world_in_a_jump(app) as world:
        job = await queue(world, "easy")
        await trio.sleep(30)
        async with world.instance() as system:
            assert (await world.ended(system, job)).status is JobStatus.COMPLETED
    assert trio.current_time() < HOUR
