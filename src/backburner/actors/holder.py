"""The holder: has jobs show why they wait."""

from __future__ import annotations

from datetime import datetime

import attrs
import structlog
import trio

from backburner.clock import Clock
from backburner.errors import StorageUnavailable
from backburner.leadership import Mandate
from backburner.storage import holds
from backburner.storage.absent import absent_providers
from backburner.storage.database import Database
from backburner.storage.fence import fenced

log = structlog.get_logger()

PAUSE = 0.01  # seconds between transactions, so that others get through


@attrs.define(kw_only=True, eq=False)
class Holder:
    """Keeps each batch job's `hold` at what it waits for, a few seconds behind.

    Ends only by cancellation; raises LeadershipLost.
    """

    database: Database
    provider: str
    mandate: Mandate
    clock: Clock
    interval: float  # seconds between looks

    async def run(self) -> None:
        await self._warn()
        while True:
            try:
                await self._look()
            except StorageUnavailable as error:
                log.warning("look at holds skipped", error=str(error))
            await trio.sleep(self.interval)

    async def _warn(self) -> None:
        """Say at the beginning of a term what nobody will ever look at."""
        try:
            found = await self.database.read(absent_providers, [self.provider])
        except StorageUnavailable:  # doctor says it as well
            return
        for name, batches in found.items():
            log.warning("batches of a provider that is not configured wait", provider=name, batches=batches)

    async def _look(self) -> None:
        now = self.clock.now()
        keys = await self.database.read(holds.waiting_jobs, self.provider)
        for start in range(0, len(keys), holds.PAGE):
            await self._correct(keys[start : start + holds.PAGE], now)

    async def _correct(self, keys: list[int], now: datetime) -> None:
        changes = await self.database.read(holds.changed_holds, keys, self.provider, now=now)
        if changes:
            await self.database.write(fenced, self.mandate.term, holds.set_holds, changes, now=now)
            await trio.sleep(PAUSE)
