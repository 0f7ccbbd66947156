"""When keys were used last: gathered in memory, written together."""

from __future__ import annotations

from datetime import datetime

import attrs
import structlog
import trio

from backburner.clock import Clock
from backburner.errors import TransientError
from backburner.storage import accounts
from backburner.storage.database import Database

#: Seconds between two writings, each of all keys that were used since the last one.
EVERY = 60.0

log = structlog.get_logger()


@attrs.define(kw_only=True, eq=False)
class KeyUses:
    """Notes the uses of keys. A process that is killed takes those of up to a minute along."""

    database: Database
    clock: Clock
    stopping: trio.Event
    _used: dict[str, datetime] = attrs.field(factory=dict, init=False)

    def used(self, key_id: str) -> None:
        """The key has just let somebody in."""
        self._used[key_id] = self.clock.now()

    async def run(self) -> None:
        """Until the server stops; what was gathered by then is written."""
        while not self.stopping.is_set():
            with trio.move_on_after(EVERY):
                await self.stopping.wait()
            await self._write()

    async def _write(self) -> None:
        uses, self._used = self._used, {}
        try:
            if uses:
                await self.database.write(accounts.note_uses, uses)
        except TransientError as error:
            self._used = uses | self._used
            log.warning("uses of keys wait for the database", error=str(error))
