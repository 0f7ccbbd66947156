"""An instance is killed at any moment; the next one brings everything to the same end, and pays for nothing twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from random import Random

import attrs
import pytest
import trio
from tests.invariants import Invariants, settled
from tests.scenes import HOOK, made_at
from tests.world import Life, World, open_world, params
from trio._core import _run as trio_run
from trio.testing import MockClock

from backburner.clock import TrioClock
from backburner.model import Job
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import JobStatus

#: Long answers, so that a kill often comes in the middle of one.
OPTIONS = SandboxOptions(batch_seconds=(20, 20), latency_seconds=2.0, errored=0.1, expired=0.05)
MOMENTS = [0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 20.0, 24.0, 25.5, 27.0, 28.5, 30.0, 31.0, 33.0]


async def submitted(world: World) -> Job:
    return await world.submit([params(f"question {n}") for n in range(25)], chunk_items=10, callback_url=HOOK)


async def brought_to_an_end(world: World, *jobs: Job) -> None:
    async with world.instance() as system:
        for job in jobs:
            await world.ended(system, job)
        await trio.sleep(400)  # a lease of a delivery that died with its instance
    for job in jobs:
        await settled(world, job, told_twice=True)
        assert (await world.job(job)).status is JobStatus.COMPLETED


@pytest.mark.parametrize("seconds", MOMENTS)
async def test_a_kill_at_any_time_changes_nothing_in_the_end(seconds, autojump_clock):
    async with open_world(options=OPTIONS) as world:
        job = await submitted(world)
        async with world.doomed_instance():
            await trio.sleep(seconds)
        await Invariants(world).hold()
        await brought_to_an_end(world, job)
        assert made_at(world) == [1, 1, 1]


@pytest.mark.parametrize("seconds", MOMENTS[::3])
async def test_a_stop_at_any_time_changes_nothing_in_the_end(seconds, autojump_clock):
    async with open_world(options=OPTIONS) as world:
        job = await submitted(world)
        async with world.instance():
            await trio.sleep(seconds)
        await Invariants(world).hold()
        await brought_to_an_end(world, job)
        assert made_at(world) == [1, 1, 1]
        assert len(world.receiver.received) == 1


async def test_the_answer_is_lost_and_then_the_instance(autojump_clock):
    async with open_world(options=OPTIONS) as world:
        world.sandbox.faults.add("create:lost_response")
        world.sandbox.faults.add("list:500_html@1-2")
        job = await submitted(world)
        async with world.doomed_instance():
            await trio.sleep(5)
        await brought_to_an_end(world, job)
        assert made_at(world) == [1, 1, 1]


async def test_killed_again_and_again_it_still_gets_there(autojump_clock):
    async with open_world(options=OPTIONS) as world:
        job = await submitted(world)
        invariants = Invariants(world)
        for _ in range(12):
            async with world.doomed_instance():
                await trio.sleep(3.3)
            await invariants.hold()
        await brought_to_an_end(world, job)
        assert made_at(world) == [1, 1, 1]


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_next_instance_may_have_another_time(hours, autojump_clock):
    async with open_world(options=OPTIONS) as world:
        world.sandbox.faults.add("create:lost_response")
        job = await submitted(world)
        async with world.doomed_instance():
            await trio.sleep(1.5)  # made, and not answered yet
        world.clock = TrioClock(skew=timedelta(hours=hours))
        await brought_to_an_end(world, job)
        assert made_at(world) == [1, 1, 1]


# --- at random steps of the scheduler ----------------------------------------------------------------------

SWARM = [
    "create:lost_response@p0.3", "create:500_html@p0.2", "create:429=3@p0.2", "create:529@p0.2", "create:413@2x1",
    "retrieve:500@p0.2", "retrieve:404@p0.2", "retrieve:reset@p0.2", "status:backwards@p0.2", "list:500@p0.3",
    "list:reset@p0.2", "results:reset_midline@p0.3", "results:truncate@1", "results:duplicate=2", "results:foreign=2",
    "results:drop=1@1", "results:crlf", "results:404@1-2",
]  # fmt: skip


@attrs.define(eq=False)
class Executioner(trio.abc.Instrument):
    """Ends a life at a step of the scheduler."""

    step: int
    life: Life
    scope: trio.CancelScope
    steps: int = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self.step:
            self.life.is_over = True
            self.scope.cancel()


def simulated(seed: int, story: Callable[[Random], Awaitable[None]]) -> None:
    """Run a story so that the seed decides everything, the order of tasks included."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # the switch that Trio has for this
    trio_run._r.seed(seed)
    trio.run(story, Random(seed), clock=MockClock(autojump_threshold=0))


async def killed_at_step(world: World, step: int) -> None:
    life, scope = Life(), trio.CancelScope()
    executioner = Executioner(step, life, scope)
    async with world.doomed_instance(life):
        trio.lowlevel.add_instrument(executioner)
        with scope:
            await trio.sleep(200)
        trio.lowlevel.remove_instrument(executioner)


async def a_hard_life(random: Random, url: str = "sqlite://") -> None:
    options = attrs.evolve(OPTIONS, latency_seconds=0.5)
    async with open_world(seed=random.getrandbits(32), options=options, url=url) as world:
        for fault in random.sample(SWARM, 4):
            world.sandbox.faults.add(fault)
        jobs = [await submitted(world) for _ in range(2)]
        invariants = Invariants(world)
        for _ in range(3):
            await killed_at_step(world, int(random.lognormvariate(6, 1)))
            await invariants.hold()
        await brought_to_an_end(world, *jobs)
        await invariants.hold()
        assert set(made_at(world)) == {1}


@pytest.mark.parametrize("seed", range(30))
def test_killed_at_any_step_it_gets_to_the_same_end(seed):
    simulated(seed, a_hard_life)


@pytest.mark.postgresql
@pytest.mark.parametrize("seed", range(100, 103))
def test_killed_at_any_step_it_gets_to_the_same_end_on_postgresql(seed, postgres_database):
    simulated(seed, partial(a_hard_life, url=postgres_database))
