"""Short stories in which the instance is killed at every single step, and another one goes on with what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import trio

from backburner.pace import Pace
from backburner.providers.sandbox.options import SandboxOptions
from simulation import migrating
from simulation.chaos import Rates
from simulation.clients import Client
from simulation.profile import Profile
from simulation.seeds import reported
from simulation.workloads import HOOKS, Workload, a_handler_works, agents_use_tools, download, make_batch
from simulation.world import World, simulate

HOOK = HOOKS[0]
MIGRATE = "migrate"  # the only one that is no story
VICTIM = "i0.1"


@attrs.frozen(kw_only=True)
class Scenario:
    """What happens, and what goes wrong by itself meanwhile."""

    story: Workload
    faults: Sequence[str] = ()
    receivers: Mapping[str, float] = attrs.field(factory=dict)
    instances: int = 1


async def _submit(client: Client) -> None:
    await client.ended(await make_batch(client, items=4, chunk_items=2, callback_url=None))


async def _cancel(client: Client) -> None:
    job_id = await make_batch(client, items=4, chunk_items=2, callback_url=HOOK)
    await trio.sleep(2.0)
    await client.insist("POST", f"/jobs/{job_id}/cancel")
    await client.ended(job_id)
    await download(client, job_id)


async def _retry(client: Client) -> None:
    job_id = await make_batch(client, items=4, chunk_items=None, mark="[sandbox:errored]", callback_url=None)
    await client.ended(job_id)
    ask = await client.insist("POST", f"/batches/{job_id}/retry", {}, key="again")
    await client.ended(ask.json["id"])
    await download(client, ask.json["id"])


async def _deliver(client: Client) -> None:
    await client.ended(await make_batch(client, items=1, chunk_items=None, callback_url=HOOK))


async def _step_down(client: Client) -> None:
    job_id = await make_batch(client, items=4, chunk_items=2, callback_url=HOOK)
    await trio.sleep(1.0)
    for instance in client.world.lives:
        if instance.system is not None and not instance.life.is_over:
            instance.system.leader.step_down()
    await client.ended(job_id)


SCENARIOS: Mapping[str, Scenario] = {
    "submit": Scenario(story=_submit),
    "lost answer": Scenario(story=_submit, faults=["create:lost_response@1"]),
    "split submit": Scenario(story=_submit, faults=["create:413@1"]),
    "poll": Scenario(story=_submit, faults=["retrieve:500@1", "status:backwards@2"]),
    "ingest": Scenario(story=_submit, faults=["results:reset_midline@1", "results:duplicate=1"]),
    "cancel": Scenario(story=_cancel),
    "retry": Scenario(story=_retry),
    "deliver": Scenario(story=_deliver, receivers={"500": 0.4, "deaf": 0.2}),
    "take-over": Scenario(story=_step_down, instances=2),
    "tools": Scenario(story=agents_use_tools),
    "handler": Scenario(story=a_handler_works),
}


def profile_of(scenario: Scenario) -> Profile:
    """Nothing goes wrong by chance."""
    return Profile(
        seed=0,
        instances=scenario.instances,
        single_writer=True,
        pace=Pace(interval=10.0, jitter=0.0, settle=20.0, look=15.0, drain=10.0),
        sandbox=SandboxOptions(latency_seconds=0.2, batch_seconds=(8.0, 8.0), reply_bytes=60),
        provider_faults=tuple(scenario.faults),
        may_spoil=False,
        rates=Rates(),
        receivers=scenario.receivers,
        faults_last=60.0,
        kills=(),
        freezes=(),
        stops=(),
        step_downs=(),
        clock_jumps=(),
        database_outages=(),
        deaf_instances=False,
        workloads=0,
    )


def steps_of(name: str) -> int:
    """How many steps the instance takes when nobody kills it."""
    world = _play(SCENARIOS[name], None)
    assert world.violation is None, reported(0, world)
    return world.steps.count_of[VICTIM]


def crash_at(name: str, step: int) -> str:
    """Kill the instance before that step of its own; what was violated, if so."""
    world = _play(SCENARIOS[name], step)
    return "" if world.violation is None else f"{name}, killed at step {step}\n{reported(0, world)}"


def crash_at_all(name: str, *, every: int = 1) -> tuple[int, list[str]]:
    """How many steps there were to crash at, and what was violated."""
    if name == MIGRATE:
        cuts = migrating.points(every)
        return len(cuts), [report for cut in cuts if (report := migrating.cut_off_at(cut))]
    points = range(1, steps_of(name) + 1, every)
    return len(points), [report for step in points if (report := crash_at(name, step))]


def _play(scenario: Scenario, step: int | None) -> World:
    def prepare(world: World) -> None:
        if step is not None:
            world.steps.at_step_of(VICTIM, step, lambda: _kill(world))

    return simulate(profile_of(scenario), workloads=[scenario.story], prepare=prepare)


def _kill(world: World) -> None:
    world.trace.event(f"{VICTIM} is killed")
    for instance in world.lives:
        if instance.life.name == VICTIM:
            instance.life.kill()
    if len(world.slots) == 1:  # nobody else has the database open
        world.store.crash()
