"""The database is away for a while, in the middle of everything; what it had committed then nobody knows."""

from __future__ import annotations

from random import Random

import attrs
import pytest
import trio
from tests.invariants import Invariants, settled
from tests.scenes import HOOK, made_at
from tests.world import Life, World, open_world, params

from backburner.errors import StorageUnavailable
from backburner.model import Job
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import JobStatus
from backburner.storage.batches import batches_of_job

OPTIONS = SandboxOptions(batch_seconds=(20, 20), latency_seconds=2.0)


@attrs.define
class Outage:
    """No transaction goes through from `begins` to `ends`; of those that fail, some have been committed."""

    begins: float
    ends: float
    random: Random = attrs.field(factory=lambda: Random(3))
    hit: int = 0

    def __call__(self, moment: str) -> None:
        if not self.begins <= trio.current_time() < self.ends:
            return
        if moment.startswith("after") or self.random.random() < 0.5:
            self.hit += 1
            raise StorageUnavailable("The database is away.")


async def end_after(world: World, life: Life, job: Job) -> Job:
    async with world.instance(life) as system:
        found = await world.job(job)
        while not found.status.is_terminal:
            with system.changes.listening(job.id) as ear:
                await ear.heard(60)
            found = await world.job(job)
        await trio.sleep(120)
    await Invariants(world).hold()
    await settled(world, job, told_twice=True)
    return found


@pytest.mark.parametrize("begins", [0.0, 0.5, 1.5, 2.5, 4.0, 6.0, 15.0, 22.0, 24.5, 26.0, 28.5, 31.0])
async def test_an_outage_at_any_time_delays_and_changes_nothing(begins, autojump_clock):
    async with open_world(options=OPTIONS) as world:
        job = await world.submit([params(f"q {n}") for n in range(25)], chunk_items=10, callback_url=HOOK)
        outage = Outage(begins, begins + 20)
        ended = await end_after(world, Life(trouble=outage), job)
        assert outage.hit > 0
        assert (ended.status, ended.stop_reason) == (JobStatus.COMPLETED, "end_turn")
        assert made_at(world) == [1, 1, 1]


async def test_a_flickering_database_is_good_enough(autojump_clock):
    random = Random(5)

    def flickers(_: str) -> None:
        if random.random() < 0.1:
            raise StorageUnavailable("busy")

    async with open_world(options=OPTIONS) as world:
        job = await world.submit([params(f"q {n}") for n in range(40)], chunk_items=10, callback_url=HOOK)
        ended = await end_after(world, Life(trouble=flickers), job)
        assert ended.stop_reason == "end_turn"
        assert made_at(world) == [1] * 4


async def test_an_answer_that_cannot_be_written_down_is_held_until_it_can(autojump_clock):
    def cannot_write(moment: str) -> None:
        if moment == "before write" and 1 < trio.current_time() < 30:
            raise StorageUnavailable("full")

    async with open_world(options=OPTIONS) as world:
        job = await world.submit([params("x")] * 5, callback_url=HOOK)
        ended = await end_after(world, Life(trouble=cannot_write), job)
        assert ended.stop_reason == "end_turn"
        (batch,) = await world.database.read(batches_of_job, job.key)
        assert batch.create_response is not None
        assert not any(path == "/v1/messages/batches" for _, method, path in world.calls if method == "GET")
