"""Short stories in which the instance is killed at every single step, and another one goes on with what is left."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Iterator, Mapping, Sequence

import attrs
import trio

from backburner.pace import Pace
from backburner.providers.sandbox.options import SandboxOptions
from simulation import migrating
from simulation.chaos import Rates
from simulation.clients import Client
from simulation.profile import Profile
from simulation.seeds import described, in_processes
from simulation.workloads import HOOKS, Workload, a_handler_works, agents_use_tools, download, make_batch
from simulation.world import Show, World, simulate

HOOK = HOOKS[0]
MIGRATE = "migrate"  # the only one that is no story
VICTIM = "i0.1"
UNDISTURBED = 0  # as a step: nobody is killed


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


@attrs.frozen(kw_only=True)
class Crash:
    """What came of killing the instance at a step of its own; `report` is empty when every promise was kept."""

    name: str
    step: int
    report: str


def steps_of(name: str) -> int:
    """How many steps the instance takes when nobody kills it; for a migration, instructions."""
    return migrating.length() if name == MIGRATE else _play(name, UNDISTURBED).steps.count_of[VICTIM]


def crash_at(name: str, step: int, *, show: Show | None = None) -> Crash:
    """Kill the instance before that step of its own."""
    try:
        found = migrating.cut_off_at(step) if name == MIGRATE else _what_broke(name, step, show)
    except Exception:  # a bug of the simulation must not hide the other points
        found = f"the simulation broke\n{traceback.format_exc()}"
    return Crash(name=name, step=step, report=found and f"{told(name, step)}: {found}\n{replay(name, step)}")


def told(name: str, step: int) -> str:
    """What was done, for people."""
    return f"{name}, nobody killed" if step == UNDISTURBED else f"{name}, killed at step {step}"


def replay(name: str, step: int) -> str:
    """The command that does it again."""
    return f"replay: ./scripts/simulate --crash-points {shlex.quote(name)} --at-step {step}"


def points(names: Sequence[str], *, every: int = 1) -> list[tuple[str, int]]:
    """All places to crash at. A story that fails by itself has only one, at which nobody is killed."""
    return [(name, step) for name in names or [*SCENARIOS, MIGRATE] for step in _steps(name, every)]


def _steps(name: str, every: int) -> Sequence[int]:
    if crash_at(name, UNDISTURBED).report:
        return [UNDISTURBED]
    return range(1, steps_of(name) + 1, every * (migrating.AT_A_TIME if name == MIGRATE else 1))


def crash_at_all(places: Sequence[tuple[str, int]], *, jobs: int) -> Iterator[Crash]:
    """What came of each as they come, in no order when there are several jobs."""
    return in_processes(_crash_at, places, jobs=jobs)


def _crash_at(place: tuple[str, int]) -> Crash:
    return crash_at(*place)


def _what_broke(name: str, step: int, show: Show | None) -> str:
    world = _play(name, step, show)
    if world.violation is None and world.steps.never_taken:
        return f"nothing was killed, it took only {world.steps.count_of[VICTIM]} steps"
    return described(world)


def _play(name: str, step: int, show: Show | None = None) -> World:
    def prepare(world: World) -> None:
        if step != UNDISTURBED:
            world.steps.at_step_of(VICTIM, step, lambda: _kill(world))

    scenario = SCENARIOS[name]
    return simulate(profile_of(scenario), workloads=[scenario.story], show=show, prepare=prepare)


def _kill(world: World) -> None:
    world.trace.event(f"{VICTIM} is killed")
    for instance in world.lives:
        if instance.life.name == VICTIM:
            instance.life.kill()
    if len(world.slots) == 1:  # nobody else has the database open
        world.store.crash()
