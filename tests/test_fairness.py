"""Which batches go to the provider first, and how many wait there."""

from __future__ import annotations

import attrs
import sqlalchemy as sa
import trio
from tests.invariants import Invariants
from tests.world import PACE, World, open_world, params

from backburner.model import Job
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import BATCH_IN_FLIGHT, BatchStatus
from backburner.storage.tables import organizations, provider_batches, users


async def second_organization(world: World) -> None:
    """Organization and user 2."""

    def make(tx: sa.Connection) -> None:
        now = world.clock.now()
        tx.execute(sa.insert(organizations).values(id=2, public_id="org-2", name="second", created_at=now))
        tx.execute(sa.insert(users).values(id=2, public_id="user-2", organization_id=2, name="x", created_at=now))

    await world.database.write(make)


async def order_of_submission(world: World) -> list[int]:
    """Keys of jobs, one for each batch that was submitted, in that order."""
    wanted = sa.select(provider_batches.c.job_id).where(provider_batches.c.intent_at.is_not(None))
    ordered = wanted.order_by(provider_batches.c.intent_at, provider_batches.c.id)
    return await world.database.read(lambda tx: list(tx.execute(ordered).scalars()))


async def held_back(world: World, *specs: dict[str, int]) -> list[Job]:
    """Jobs of ten items in batches of two, made while the provider takes nothing."""
    return [await world.submit([params("x")] * 10, chunk_items=2, **spec) for spec in specs]


LATENT = SandboxOptions(batch_seconds=(600, 600), latency_seconds=0.1)  # one submission after the other


async def test_urgent_jobs_go_first_and_older_ones_before_younger(autojump_clock):
    async with open_world(options=LATENT) as world:
        first, urgent, last = await held_back(world, {}, {"priority": 5}, {})
        async with world.instance():
            await trio.sleep(20)
        assert await order_of_submission(world) == [urgent.key] * 5 + [first.key] * 5 + [last.key] * 5


async def test_organizations_take_turns(autojump_clock):
    async with open_world(options=LATENT) as world:
        await second_organization(world)
        mine, _ = await held_back(world, {}, {})
        (theirs,) = await held_back(world, {"organization_key": 2, "user_key": 2})
        async with world.instance():
            await trio.sleep(20)
        order = await order_of_submission(world)
        assert order[:10] == [mine.key, theirs.key] * 5


async def test_no_more_wait_at_the_provider_than_allowed_and_all_get_there(autojump_clock):
    options = SandboxOptions(batch_seconds=(60, 60))
    async with open_world(options=options, pace=attrs.evolve(PACE, most_queued=7)) as world:
        job = await world.submit([params("x")] * 30, chunk_items=3)
        async with world.instance():
            most = 0
            while not (await world.job(job)).status.is_terminal:
                await trio.sleep(2)
                most = max(most, await items_at_provider(world))
            assert most == 6
            assert trio.current_time() < 5 * 130  # five rounds of two batches
            await Invariants(world).hold()


async def items_at_provider(world: World) -> int:
    waiting = sa.select(sa.func.coalesce(sa.func.sum(provider_batches.c.item_count), 0)).where(
        provider_batches.c.status.in_(sorted(BATCH_IN_FLIGHT - {BatchStatus.ENDED}))
    )
    return await world.database.read(lambda tx: tx.execute(waiting).scalar_one())


async def test_a_batch_larger_than_the_whole_queue_goes_alone(autojump_clock):
    async with open_world(pace=attrs.evolve(PACE, most_queued=5)) as world, world.instance() as system:
        job = await world.submit([params("x")] * 24, system=system, chunk_items=8)
        ended = await world.ended(system, job)
        assert ended.counts.succeeded == 24


async def test_a_large_batch_is_not_starved_by_small_ones(autojump_clock):
    options = SandboxOptions(batch_seconds=(60, 60))
    async with open_world(options=options, pace=attrs.evolve(PACE, most_queued=10)) as world:
        small = [await world.submit([params("x")] * 2, priority=1) for _ in range(6)]
        large = await world.submit([params("x")] * 9)
        async with world.instance() as system:
            await trio.sleep(5)
            small += [await world.submit([params("x")] * 2, system=system) for _ in range(6)]
            for job in [large, *small]:
                await world.ended(system, job)
            started = [(await world.job(job)).started_at for job in [*small[:6], large, *small[6:]]]
        assert started == sorted(filter(None, started))
