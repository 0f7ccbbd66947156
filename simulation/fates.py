"""Who is killed, frozen, stopped or confused, and when: what the profile has in store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import attrs
import trio

from simulation.clockwork import Steps
from simulation.instances import Instance, Slot

if TYPE_CHECKING:
    from simulation.world import World


@attrs.define(eq=False)
class Fates:
    """Carries out the profile's faults against instances."""

    world: World
    steps: Steps
    random: Random

    def start(self, nursery: trio.Nursery) -> None:
        """Each event in a task of its own."""
        profile = self.world.profile
        for at, steps in profile.kills:
            nursery.start_soon(self._later, at, partial(self._at_step, steps, self._kill))
        for at, steps, seconds in profile.freezes:
            nursery.start_soon(self._later, at, partial(self._at_step, steps, partial(self._freeze, seconds)))
        for at in profile.stops:
            nursery.start_soon(self._later, at, self._stop)
        for at in profile.step_downs:
            nursery.start_soon(self._later, at, self._step_down)
        for at, by in profile.clock_jumps:
            nursery.start_soon(self._later, at, partial(self._jump, by))
        for at, seconds in profile.database_outages:
            nursery.start_soon(self._later, at, partial(self._lose_database, seconds))

    async def _later(self, at: float, do: Callable[[], None]) -> None:
        await trio.sleep_until(trio.current_time() + at)
        do()

    def _at_step(self, steps: int, do: Callable[[], None]) -> None:
        self.steps.after(steps, do)

    def _victim(self) -> Instance | None:
        """Mostly the leader: there is more to break."""
        session = self.world.office.holder()
        running = [slot.current for slot in self.world.slots if slot.current is not None]
        leaders = [instance for instance in running if session is not None and instance.life is session.life]
        if leaders and self.random.random() < 0.7:
            return leaders[0]
        return self.random.choice(running) if running else None

    def _kill(self) -> None:
        if self.world.chaos.is_on and (victim := self._victim()) is not None:
            self.world.trace.event(f"{victim.life.name} is killed")
            victim.life.kill()

    def _freeze(self, seconds: float) -> None:
        if self.world.chaos.is_on and (victim := self._victim()) is not None:
            self.world.freeze(victim.life, seconds)

    def _stop(self) -> None:
        if (victim := self._victim()) is not None:
            self.world.trace.event(f"{victim.life.name} is asked to stop")
            victim.stop.set()

    def _step_down(self) -> None:
        if (victim := self._victim()) is not None and victim.system is not None:
            self.world.trace.event(f"{victim.life.name} is asked to step down")
            victim.system.leader.step_down()

    def _jump(self, seconds: float) -> None:
        slot: Slot = self.random.choice(self.world.slots)
        self.world.trace.event(f"the wall clock of machine {slot.index} jumps by {seconds} s")
        slot.jump(seconds)

    def _lose_database(self, seconds: float) -> None:
        if self.world.chaos.is_on:
            self.world.trace.event(f"the database is away for {seconds} s")
            self.world.chaos.away_until = trio.current_time() + seconds
