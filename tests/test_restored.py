"""A database put back to an older state: what was submitted since is found at the provider, and not paid for twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import attrs
import pytest
import trio
from tests.invariants import provider_batches_by_nonce, settled
from tests.scenes import HOOK, made_at
from tests.world import PACE, World, open_world, params

from backburner.providers.sandbox.options import SandboxOptions
from backburner.storage import by_hand
from backburner.storage.batches import batches_of_job
from backburner.storage.doubt import doubt_submissions

ITEMS, CHUNK = 60, 10
#: Two batches are at the provider at once; the others wait here.
SLOW = attrs.evolve(PACE, most_queued=2 * CHUNK)


def driver(world: World) -> sqlite3.Connection:
    connection = world.database.writing.raw_connection()
    found = connection.driver_connection
    connection.close()
    assert isinstance(found, sqlite3.Connection)
    return found


@pytest.mark.parametrize("seconds", [0, 90, 170, 3600])
async def test_what_was_submitted_since_the_backup_is_found_again(seconds, autojump_clock):
    """However much that was: nothing, batches that are under way, batches that have ended, all of it."""
    async with open_world(pace=SLOW) as world:
        with closing(sqlite3.connect(":memory:")) as copy:
            async with world.doomed_instance() as system:
                texts = [params(f"question {number}") for number in range(ITEMS)]
                job = await world.submit(texts, system=system, chunk_items=CHUNK, callback_url=HOOK)
                await trio.sleep(10)
                driver(world).backup(copy)
                await trio.sleep(seconds)
            before = len(made_at(world))
            copy.backup(driver(world))
        doubted = await world.database.write(doubt_submissions, now=world.clock.now())
        async with world.instance() as system:
            ended = await world.ended(system, job)
            await trio.sleep(10)
        assert (doubted, ended.counts.succeeded) == (ITEMS // CHUNK - 2, ITEMS)
        assert before <= ITEMS // CHUNK
        assert made_at(world) == [1] * (ITEMS // CHUNK)
        await settled(world, job, told_twice=True)


async def test_without_doubt_it_would_be_paid_for_twice(autojump_clock):
    """What the test above is worth."""
    async with open_world(pace=SLOW) as world:
        with closing(sqlite3.connect(":memory:")) as copy:
            async with world.doomed_instance() as system:
                texts = [params(f"question {number}") for number in range(ITEMS)]
                job = await world.submit(texts, system=system, chunk_items=CHUNK)
                await trio.sleep(10)
                driver(world).backup(copy)
                await trio.sleep(3600)
            copy.backup(driver(world))
        async with world.instance() as system:
            await world.ended(system, job)
        assert sorted(map(len, provider_batches_by_nonce(world.sandbox).values())) == [1, 1, 2, 2, 2, 2]


async def test_of_rivals_none_takes_what_may_be_the_others(autojump_clock):
    """Two doubted batches of one size, of which the provider has one: it goes to whom its results name.

    It takes longer than one is looked for in vain.
    """
    pace = attrs.evolve(PACE, most_queued=CHUNK)
    async with open_world(pace=pace, options=SandboxOptions(batch_seconds=(600, 600))) as world:
        with closing(sqlite3.connect(":memory:")) as copy:
            await world.submit(map(params, "abcdefghij"), chunk_items=CHUNK)
            second = await world.submit(map(params, "klmnopqrst"), chunk_items=CHUNK, priority=5)
            driver(world).backup(copy)
            async with world.doomed_instance():
                await trio.sleep(10)  # the urgent one, which was planned last, is under way
            copy.backup(driver(world))
        assert await world.database.write(doubt_submissions, now=world.clock.now()) == 2
        async with world.instance() as system:
            await world.ended(system, second)
        assert set(made_at(world)) == {1}


@pytest.mark.parametrize("sooner", [0, 1])
async def test_an_operators_mistake_is_not_paid_for_by_another_batch(sooner, autojump_clock):
    """Of two doubted batches of one size the first is given what is the second's; whichever of them ends sooner."""
    pace = attrs.evolve(PACE, most_queued=2 * CHUNK, look=30.0)
    async with open_world(pace=pace, options=SandboxOptions(batch_seconds=(600, 600))) as world:
        world.sandbox.faults.add(f"status:never_ends#{2 - sooner}")
        with closing(sqlite3.connect(":memory:")) as copy:
            jobs = [await world.submit(map(params, "abcdefghij"), chunk_items=CHUNK) for _ in range(2)]
            driver(world).backup(copy)
            async with world.doomed_instance():
                await trio.sleep(10)
            copy.backup(driver(world))
        made = provider_batches_by_nonce(world.sandbox)
        await world.database.write(doubt_submissions, now=world.clock.now())
        first, second = [(await world.database.read(batches_of_job, job.key))[0] for job in jobs]
        (wrong,) = made[second.nonce]
        await world.database.write(by_hand.adopt, first.id, wrong, now=world.clock.now())
        async with world.instance() as system:
            await trio.sleep(1500)
            world.sandbox.faults.clear()
            for job in jobs:
                await world.ended(system, job)
        assert set(made_at(world)) == {1}
        for job in jobs:
            await settled(world, job)
