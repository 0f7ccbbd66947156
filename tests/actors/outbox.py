"""A store of deliveries and receivers of webhooks that live in memory."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import attrs
import trio

from backburner.clock import TrioClock
from backburner.commands import DeliveryAttempted
from backburner.errors import StorageUnavailable
from backburner.model import DueDelivery
from backburner.states import DeliveryStatus
from backburner.webhooks.sender import AttemptOutcome

TIMEOUT = 5.0
CLOCK = TrioClock()


@attrs.define
class Row:
    due: DueDelivery
    at: datetime | None
    status: DeliveryStatus = DeliveryStatus.PENDING


@attrs.define(eq=False)
class MemoryStore:
    """Deliveries as the database keeps them; a lease is a later `at`."""

    rows: dict[int, Row] = attrs.field(factory=dict)
    log: list[tuple[float, DeliveryAttempted]] = attrs.field(factory=list)
    claims: int = 0
    away_until: float = 0

    def owe(self, key: int, receiver: str = "good:443", organization: int = 1, after: float = 0) -> None:
        due = DueDelivery(
            key=key,
            id=f"delivery-{key}",
            organization_key=organization,
            url=f"https://{receiver}/",
            receiver=receiver,
            body=b"{}",
            number=1,
            scheduled=1,
            secrets=(),
        )
        self.rows[key] = Row(due, CLOCK.now() + timedelta(seconds=after))

    def _due(self, receivers: frozenset[str], organizations: frozenset[int]) -> list[Row]:
        open_rows = [row for row in self.rows.values() if row.at is not None]
        chosen = [
            row
            for row in open_rows
            if row.due.receiver not in receivers and row.due.organization_key not in organizations
        ]
        return sorted(chosen, key=lambda row: (row.at, row.due.key))

    async def claim_deliveries(
        self,
        *,
        now: datetime,
        lease_until: datetime,
        limit: int,
        busy_receivers: frozenset[str],
        busy_organizations: frozenset[int],
    ) -> list[DueDelivery]:
        await trio.lowlevel.checkpoint()
        if trio.current_time() < self.away_until:
            raise StorageUnavailable("away")
        self.claims += 1
        rows = [row for row in self._due(busy_receivers, busy_organizations) if row.at and row.at <= now][:limit]
        for row in rows:
            row.at = lease_until
        return [row.due for row in rows]

    async def next_delivery_at(
        self, *, busy_receivers: frozenset[str], busy_organizations: frozenset[int]
    ) -> datetime | None:
        await trio.lowlevel.checkpoint()
        return next((row.at for row in self._due(busy_receivers, busy_organizations)), None)

    async def record(self, attempted: DeliveryAttempted) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append((round(trio.current_time(), 3), attempted))
        row = self.rows[attempted.key]
        row.at, row.status = attempted.next_attempt_at, attempted.status
        row.due = attrs.evolve(row.due, number=row.due.number + 1, scheduled=row.due.scheduled + 1)

    def done_at(self, receiver: str) -> list[float]:
        return [at for at, attempted in self.log if self.rows[attempted.key].due.receiver == receiver]


@attrs.define(eq=False)
class Receivers:
    """Plays the sender: how long each receiver takes and what it answers, by host."""

    seconds: dict[str, float] = attrs.field(factory=dict)
    status: dict[str, int] = attrs.field(factory=dict)
    broken: bool = False
    now: Counter[str] = attrs.field(factory=Counter)
    most: Counter[str] = attrs.field(factory=Counter)

    async def attempt(self, due: DueDelivery) -> AttemptOutcome:
        host = due.receiver.split(":")[0]
        names = (host, f"organization {due.organization_key}", "all")
        for name in names:
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
        try:
            return await self._answer(host)
        finally:
            self.now.subtract(names)

    async def _answer(self, host: str) -> AttemptOutcome:
        if self.broken:
            raise ValueError("a bug")
        seconds = self.seconds.get(host, 0.05)
        await trio.sleep(min(seconds, TIMEOUT))
        if seconds > TIMEOUT:
            return AttemptOutcome(status_code=None, error="timeout", retry_after=None, duration_ms=5000)
        status = self.status.get(host, 204)
        error = None if status == 204 else f"HTTP {status}"
        return AttemptOutcome(status_code=status, error=error, retry_after=None, duration_ms=int(seconds * 1000))
