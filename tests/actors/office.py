"""An office that lives in memory, for tests of the leader actor under virtual time."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import attrs
import trio

from backburner.actors.leader import Leader
from backburner.clock import TrioClock
from backburner.leadership import Mandate
from backburner.model import Term

Duties = Callable[[Mandate], Awaitable[None]]


@attrs.define(eq=False)
class Place:
    """What the instances compete for, and a log of (virtual time, what happened)."""

    holder: str | None = None
    epoch: int = 0
    events: list[tuple[float, str]] = attrs.field(factory=list)
    vacated: trio.Event = attrs.field(factory=trio.Event)

    def note(self, event: str) -> None:
        self.events.append((trio.current_time(), event))

    def vacate(self) -> None:
        self.holder = None
        self.vacated.set()
        self.vacated = trio.Event()


@attrs.define(eq=False)
class FakeLeadership:
    """As the real ones, with heartbeats that can be made to fail, and a notice that can be lost."""

    place: Place
    name: str = "a"
    answers: bool = True  #: False: a heartbeat never returns
    valid: bool = True  #: False: a heartbeat says that the term is over
    notifies: bool = True
    campaign_takes: float = 0.0
    heartbeat_takes: float = 0.0
    refusal: str | None = None

    async def campaign(self) -> Term | None:
        await trio.lowlevel.checkpoint()
        if self.place.holder is not None or self.refusal:
            return None
        self.place.holder = self.name
        self.place.epoch += 1
        epoch = self.place.epoch
        await trio.sleep(self.campaign_takes)
        return Term(epoch=epoch, term_id=f"term-{epoch}", instance_id=self.name)

    async def heartbeat(self, term: Term) -> bool:
        await trio.lowlevel.checkpoint()
        if not self.answers:
            await trio.sleep_forever()
        await trio.sleep(self.heartbeat_takes)
        return self.valid and term.epoch == self.place.epoch

    async def resign(self, term: Term, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.place.note(f"{self.name} resigned: {reason}")
        if self.place.holder == self.name and term.epoch == self.place.epoch:
            self.place.vacate() if self.notifies else setattr(self.place, "holder", None)

    async def chance(self, at_most: float) -> None:
        with trio.move_on_after(at_most):
            await self.place.vacated.wait()


def duties_of(place: Place, name: str = "a") -> Duties:
    async def duties(mandate: Mandate) -> None:
        place.note(f"{name} on duty")
        try:
            await trio.sleep_forever()
        finally:
            place.note(f"{name} off duty")

    return duties


def leader_of(leadership: FakeLeadership, duties: Duties | None = None, **settings: Any) -> Leader:
    return Leader(
        leadership=leadership,
        duties=duties or duties_of(leadership.place, leadership.name),
        clock=TrioClock(),
        random=Random(1),
        **settings,
    )


@contextlib.asynccontextmanager
async def running(*leaders: Leader) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        for leader in leaders:
            await nursery.start(leader.run)
        yield nursery
        nursery.cancel_scope.cancel()
