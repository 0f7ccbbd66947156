"""How instances hear of each other's changes: as by NOTIFY, which a lost connection loses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from backburner.actors.listener import Feed
from backburner.errors import StorageUnavailable
from backburner.storage.notifications import JOB, WORK
from simulation.chaos import Chaos
from simulation.lives import Life
from simulation.store import Commit

BACKLOG = 64


@attrs.define(eq=False)
class Grapevine:
    """Tells everybody of every commit."""

    chaos: Chaos
    is_deaf: bool
    _ears: dict[Life, trio.MemorySendChannel[str]] = attrs.field(factory=dict)

    def feed(self, life: Life) -> Feed | None:
        """One instance's ear; None where instances do not hear of each other."""
        return None if self.is_deaf else _Ear(self, life)

    def tell(self, commit: Commit) -> None:
        """Something was committed."""
        payloads = _payloads(commit)
        for life, channel in self._ears.items():
            if life is not commit.life and not life.is_over:
                for payload in payloads:
                    _tell(channel, payload)


def _tell(channel: trio.MemorySendChannel[str], payload: str) -> None:
    with suppress(trio.WouldBlock, trio.BrokenResourceError):
        channel.send_nowait(payload)


def _payloads(commit: Commit) -> list[str]:
    """What such a transaction says on PostgreSQL."""
    payloads = set()
    for change in commit.changes:
        old, new = change.old or {}, change.new or {}
        if change.table == "jobs":
            payloads.add(JOB + str((new or old)["public_id"]))
            if not old or old.get("stopping") != new.get("stopping"):
                payloads.add(WORK)
        if change.table == "deliveries" and new.get("status") == "pending":
            payloads.add(WORK)
    return sorted(payloads)


@attrs.define(eq=False)
class _Ear(Feed):
    vine: Grapevine
    life: Life
    _heard: trio.MemoryReceiveChannel[str] | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        await self.life.goes_on()
        send, self._heard = trio.open_memory_channel[str](BACKLOG)
        self.vine._ears[self.life] = send
        try:
            yield
        finally:
            self.vine._ears.pop(self.life, None)

    async def next(self) -> list[str]:
        assert self._heard is not None
        payloads = [await self._heard.receive()]
        await self.life.goes_on()
        if self.vine.chaos.strikes("lost"):
            raise StorageUnavailable("the simulated feed broke")
        while self._heard.statistics().current_buffer_used:
            payloads.append(self._heard.receive_nowait())
        return payloads
