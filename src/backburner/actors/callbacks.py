"""The callback actor: takes deliveries that are due, attempts them, has the outcome recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import NoReturn, Protocol

import attrs
import structlog
import trio

from backburner.actors.loops import Bell, contained
from backburner.clock import Clock
from backburner.commands import DeliveryAttempted
from backburner.delivery_schedule import after_attempt
from backburner.delivery_slots import DeliverySlots
from backburner.errors import TransientError
from backburner.model import DueDelivery
from backburner.webhooks.sender import AttemptOutcome

log = structlog.get_logger()

MIN_LEASE_SECONDS = 60.0
#: While another instance has the delivery that is due next, we would ask for it again and again.
MIN_PAUSE_SECONDS = 0.05
STORAGE_PAUSE_SECONDS = 1.0


class DeliveryStore(Protocol):
    """What the actor asks of storage. Both may raise TransientError."""

    async def claim_deliveries(
        self,
        *,
        now: datetime,
        lease_until: datetime,
        limit: int,
        busy_receivers: frozenset[str],
        busy_organizations: frozenset[int],
    ) -> list[DueDelivery]:
        """Some of the pending deliveries that are due, `limit` at most, none of busy receivers or organizations.

        Fewer than `limit` means that each receiver with more of them has at least some among these.
        Nobody else gets them before `lease_until`.
        """
        ...

    async def next_delivery_at(
        self, *, busy_receivers: frozenset[str], busy_organizations: frozenset[int]
    ) -> datetime | None:
        """When the next pending delivery can be claimed, those of busy receivers and organizations aside."""
        ...


class Sender(Protocol):
    """Makes one attempt; raises nothing that a receiver could cause."""

    async def attempt(self, due: DueDelivery) -> AttemptOutcome: ...


@attrs.frozen(kw_only=True)
class Callbacks:
    """Delivers webhooks. A receiver that fails or hangs costs itself time, and nobody else.

    Runs until `stop` is called or it is cancelled. What is then under way and not recorded is attempted again when
    its lease ends: at least once, not exactly once.
    """

    store: DeliveryStore
    sender: Sender
    record: Callable[[DeliveryAttempted], Awaitable[None]]  # durable when it returns
    clock: Clock
    random: Random
    bell: Bell  # rung when a delivery may have become due
    attempt_seconds: float  # what one attempt takes at most
    drain_seconds: float  # for attempts under way when `stop` is called
    look_seconds: float = 5.0  # between looks at the database when no bell rings
    concurrency: int = 64  # attempts at once
    per_receiver: int = 4
    per_organization: int = 20
    _taking: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def stop(self) -> None:
        """Take no more deliveries. `run` returns when those under way are recorded, or after `drain_seconds`."""
        self._taking.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        slots = DeliverySlots(
            total=self.concurrency, per_receiver=self.per_receiver, per_organization=self.per_organization
        )
        async with trio.open_nursery() as attempts:
            task_status.started()
            with self._taking:
                await self._take(slots, attempts)
            attempts.cancel_scope.deadline = trio.current_time() + self.drain_seconds

    async def _take(self, slots: DeliverySlots, attempts: trio.Nursery) -> NoReturn:
        while True:
            try:
                pause = await self._turn(slots, attempts)
            except TransientError as error:
                log.warning("deliveries not claimed", error=str(error))
                pause = STORAGE_PAUSE_SECONDS
            await self.bell.heard(pause)

    async def _turn(self, slots: DeliverySlots, attempts: trio.Nursery) -> float:
        """Start everything that may start. Returns for how many seconds there is nothing to do."""
        self._start(slots, attempts)
        while slots.free:
            # Some in advance: then a slot that becomes free does not cost a query each time.
            limit = max(slots.free, self.concurrency // 4)
            claimed = await self._claim(slots, limit)
            self._start(slots, attempts)
            if claimed < limit:
                return await self._pause(slots)
        return self.look_seconds

    async def _claim(self, slots: DeliverySlots, limit: int) -> int:
        lease = max(MIN_LEASE_SECONDS, 4 * self.attempt_seconds)
        start_before = self.clock.monotonic() + lease / 2
        now = self.clock.now()
        claimed = await self.store.claim_deliveries(
            now=now,
            lease_until=now + timedelta(seconds=lease),
            limit=limit,
            busy_receivers=slots.busy_receivers(),
            busy_organizations=slots.busy_organizations(),
        )
        slots.wait(claimed, start_before)
        return len(claimed)

    async def _pause(self, slots: DeliverySlots) -> float:
        due_at = await self.store.next_delivery_at(
            busy_receivers=slots.busy_receivers(), busy_organizations=slots.busy_organizations()
        )
        if due_at is None:
            return self.look_seconds
        seconds = (due_at - self.clock.now()).total_seconds()
        return min(max(seconds, MIN_PAUSE_SECONDS), self.look_seconds)

    def _start(self, slots: DeliverySlots, attempts: trio.Nursery) -> None:
        for due in slots.start(self.clock.monotonic()):
            attempts.start_soon(self._deliver, due, slots, name=f"deliver {due.id}")

    async def _deliver(self, due: DueDelivery, slots: DeliverySlots) -> None:
        try:
            await contained(partial(self._attempt, due, slots), partial(self._record_breakage, due, self.clock.now()))
        finally:
            slots.finish(due)
            self.bell.ring()

    async def _attempt(self, due: DueDelivery, slots: DeliverySlots) -> None:
        at = self.clock.now()
        outcome = await self.sender.attempt(due)
        # One that takes most of the time it is given is as bad for the others as one that hangs.
        prompt = outcome.status_code is not None and outcome.duration_ms < 500 * self.attempt_seconds
        slots.heard(due.receiver, prompt=prompt)
        await self._record(due, at, outcome)

    async def _record_breakage(self, due: DueDelivery, at: datetime, errors: BaseExceptionGroup[Exception]) -> None:
        log.error("webhook attempt broke", delivery=due.id, exc_info=errors)
        outcome = AttemptOutcome(status_code=None, error="internal error", retry_after=None, duration_ms=0)
        await self._record(due, at, outcome)

    async def _record(self, due: DueDelivery, at: datetime, outcome: AttemptOutcome) -> None:
        status, next_attempt_at = after_attempt(
            due, outcome.status_code, outcome.retry_after, self.clock.now(), self.random
        )
        attempted = DeliveryAttempted(
            key=due.key,
            number=due.number,
            at=at,
            status_code=outcome.status_code,
            error=outcome.error,
            duration_ms=outcome.duration_ms,
            status=status,
            next_attempt_at=next_attempt_at,
        )
        await self.record(attempted)
        log.info(
            "webhook attempted",
            delivery=due.id,
            receiver=due.receiver,
            number=due.number,
            status_code=outcome.status_code,
            error=outcome.error,
            duration_ms=outcome.duration_ms,
            status=str(status),
        )
