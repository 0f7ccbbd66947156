"""Days pass in a second, and twice alike."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import attrs
import sqlalchemy as sa
import trio
from tests.invariants import Invariants, settled
from tests.scenes import HOOK, end_of
from tests.test_crashes import killed_at_step, simulated
from tests.world import PACE, World, open_world, params

from backburner.delivery_schedule import JITTER, SCHEDULE
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import DeliveryStatus, JobStatus
from backburner.storage.deliveries import deliveries_of
from backburner.storage.tables import metadata

HOUR = 3600.0
IDLE = attrs.evolve(PACE, interval=HOUR)


async def test_a_batch_that_takes_a_day_is_looked_at_all_day_long(autojump_clock):
    options = SandboxOptions(batch_seconds=(23.5 * HOUR, 23.5 * HOUR))
    async with open_world(options=options, pace=attrs.evolve(PACE, interval=600.0)) as world:
        async with world.instance() as system:
            job = await world.submit([params("x")], system=system, callback_url=HOOK)
            ended = await end_of(world, system, job)
        assert ended.status is JobStatus.COMPLETED
        assert 0 <= (ended.completed_at - ended.created_at).total_seconds() - 23.5 * HOUR <= 610
        looks = [at for at, method, path in world.calls if method == "GET" and not path.endswith("results")]
        gaps = [later - sooner for sooner, later in pairwise(looks)]
        assert max(gaps) <= 600.5
        assert 140 < len(looks) < 170


async def test_a_webhook_that_nobody_takes_is_tried_for_a_day_and_a_half(autojump_clock):
    async with open_world(pace=IDLE) as world, world.instance() as system:
        world.receiver.answers = [500] * 100
        job = await world.submit([params("x")], system=system, callback_url=HOOK)
        ended = await world.ended(system, job)
        await trio.sleep(48 * HOUR)
        (delivery,) = await world.database.read(deliveries_of, job.key)
        times = [(attempt.at - ended.completed_at).total_seconds() for attempt in delivery.attempts]
        assert delivery.status is DeliveryStatus.FAILED
        assert len(times) == len(SCHEDULE)
        waits = [later - sooner for sooner, later in pairwise(times)]
        for wait, planned in zip(waits, SCHEDULE[1:], strict=True):
            assert planned * (1 - JITTER) <= wait <= planned * (1 + JITTER) + 1
        assert await world.job(job) == attrs.evolve(
            ended,
            callback_sent_at=delivery.attempts[-1].at,
            callback_status_code=500,
            callback_error=delivery.attempts[-1].error,
            version=(await world.job(job)).version,
        )
        await Invariants(world).hold()


async def test_a_receiver_that_comes_back_after_hours_is_told(autojump_clock):
    async with open_world(pace=IDLE) as world, world.instance() as system:
        world.receiver.answers = [503] * 5
        job = await world.submit([params("x")], system=system, callback_url=HOOK)
        await world.ended(system, job)
        await trio.sleep(12 * HOUR)
        (delivery,) = await world.database.read(deliveries_of, job.key)
        assert delivery.status is DeliveryStatus.DELIVERED
        assert len({body["timestamp"] for _, body in world.receiver.received}) == 1  # the same body each time
        assert len(world.receiver.received) == 6


def dump(tx: sa.Connection) -> list[tuple[object, ...]]:
    """Every row of every table, but for the secrets, which no seed decides."""
    tables = [table for table in metadata.sorted_tables if table.name not in ("webhook_secrets", "api_keys")]
    return [(table.name, *row) for table in tables for row in tx.execute(sa.select(table)).all()]


Trace = list[object]


def a_life_with_faults(trace: Trace):
    async def story(random: Random) -> None:
        options = SandboxOptions(batch_seconds=(20, 200), latency_seconds=0.7, errored=0.1)
        async with open_world(seed=random.getrandbits(32), options=options) as world:
            for fault in ("retrieve:500@p0.3", "results:reset_midline@p0.4", "create:lost_response@p0.3"):
                world.sandbox.faults.add(fault)
            world.receiver.answers = [500, 500]
            jobs = [await made(world, n) for n in range(3)]
            await killed_at_step(world, 700)
            async with world.instance() as system:
                for job in jobs:
                    await world.ended(system, job)
                await trio.sleep(4 * HOUR)
            for job in jobs:
                await settled(world, job, told_twice=True)
            trace.extend([*world.calls, *world.receiver.received, *await world.database.read(dump)])

    return story


async def made(world: World, number: int):
    return await world.submit([params(f"{number} {n}") for n in range(30)], chunk_items=7, callback_url=HOOK)


def test_the_same_seed_leads_to_the_same_world():
    first, second, other = Trace(), Trace(), Trace()
    for seed, trace in ((1, first), (1, second), (2, other)):
        simulated(seed, a_life_with_faults(trace))
    assert first == second
    assert first != other
