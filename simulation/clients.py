"""Clients: they ask any instance, over a network that loses things, and remember what they were answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from simulation.asking import Ask
from simulation.store import KEYS

if TYPE_CHECKING:
    from simulation.world import World

PATIENCE = 70.0  # seconds until a client gives up waiting for one answer
LATER = frozenset({408, 409, 429, 503})
#: Conflicts that mean: ask again.
BUSY_CODES = frozenset({"idempotency_key_in_use", "idempotency_key_lost", "upload_expired"})


@attrs.define(kw_only=True, eq=False)
class Operation:
    """One thing that a client wants done once, however often it has to ask."""

    name: str  # also in the metadata of the job that it makes
    organization: int
    once: bool  # it is asked for with an Idempotency-Key
    custom_ids: Sequence[str] = ()
    made: set[str] = attrs.field(factory=set)  # public ids of jobs that were committed for it
    acknowledged: set[str] = attrs.field(factory=set)  # those that a client was told of


@attrs.define(eq=False)
class Ledger:
    """What clients have asked for and were answered, all clients together."""

    operations: dict[str, Operation] = attrs.field(factory=dict)
    deleting: set[str] = attrs.field(factory=set)  # public ids of jobs that a client has asked to delete
    redelivering: set[str] = attrs.field(factory=set)  # jobs


class GaveUp(Exception):
    """The workload cannot go on."""


@attrs.define(eq=False)
class Client:
    """One user's program."""

    world: World
    name: str
    organization: int  # its key
    random: Random
    _operations: int = 0

    def operation(self, *, once: bool, custom_ids: Sequence[str] = ()) -> Operation:
        """A new thing to be done."""
        self._operations += 1
        operation = Operation(
            name=f"{self.name}.{self._operations}", organization=self.organization, once=once, custom_ids=custom_ids
        )
        self.world.ledger.operations[operation.name] = operation
        return operation

    async def ask(
        self, method: str, path: str, json: Any = None, *, key: str | None = None, organization: int | None = None
    ) -> Ask:
        """Ask some instance once. `status` of what is returned is None when there was no answer."""
        headers = {"authorization": f"Bearer {KEYS[(organization or self.organization) - 1]}"}
        if json is not None:
            headers["content-type"] = "application/json"
        if key is not None:
            headers["idempotency-key"] = key
        ask = Ask(method, f"/v1{path}", headers, b"" if json is None else msgspec.json.encode(json))
        await self._send(ask, repeatable=method == "GET" or key is not None)
        self.world.witnesses.answered(self, ask)
        return ask

    async def _send(self, ask: Ask, *, repeatable: bool) -> None:
        chaos = self.world.chaos
        if chaos.strikes("late"):
            await trio.sleep(chaos.delay())
        if chaos.strikes("lost"):
            await trio.sleep(PATIENCE)
            return
        if repeatable and chaos.strikes("repeated"):
            twin = Ask(ask.method, ask.path, ask.headers, ask.body)
            self.world.network.spawn(self._deliver, twin)
        await self._deliver(ask)
        if chaos.strikes("unanswered"):
            ask.status = None

    async def _deliver(self, ask: Ask) -> None:
        instance = self.random.choice(self.world.slots).current
        if instance is None or not instance.ask(ask):
            await trio.sleep(0.1)
            return
        with trio.move_on_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, instance.life.ended, nursery)
                await ask.done.wait()
                nursery.cancel_scope.cancel()
        ask.given_up.set()
        if not ask.done.is_set():
            ask.status = None

    async def insist(
        self, method: str, path: str, json: Any = None, *, key: str | None = None, organization: int | None = None
    ) -> Ask:
        """Ask until there is a definite answer."""
        for _ in range(2000):
            ask = await self.ask(method, path, json, key=key, organization=organization)
            if ask.status is not None and not _means_later(ask):
                return ask
            await trio.sleep(self.random.uniform(0.5, 6.0))
        raise GaveUp(f"{self.name} gets no answer to {method} {path}")

    async def ended(self, job_id: str) -> Mapping[str, Any] | None:
        """The job when it has ended; None if it does not exist any more."""
        while True:
            wait = 60 if self.world.is_calm else self.random.choice([0, 20, 60])
            ask = await self.insist("GET", f"/jobs/{job_id}?wait={wait}")
            if ask.status == 404:
                return None
            if ask.json["completed_at"] is not None:
                found: Mapping[str, Any] = ask.json
                return found
            await trio.sleep(self.random.uniform(0.5, 20.0))


async def _cancel_after(event: trio.Event, nursery: trio.Nursery) -> None:
    await event.wait()
    nursery.cancel_scope.cancel()


def _means_later(ask: Ask) -> bool:
    if ask.status == 409:
        return ask.json["error"]["code"] in BUSY_CODES
    return ask.status in LATER
