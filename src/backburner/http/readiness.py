"""Whether the database takes writes, for those who ask every second: it is asked less often than they ask."""

from __future__ import annotations

import attrs
import structlog
import trio

from backburner.clock import Clock
from backburner.errors import StorageReadOnly
from backburner.storage import facts, postgresql
from backburner.storage.database import Database

EVERY = 1.0  # seconds
#: For everybody: what the database has said exactly is for the log.
NO_WRITES = "The database takes no writes: it is read-only, a standby, or full."

log = structlog.get_logger()


@attrs.define(kw_only=True, eq=False)
class Readiness:
    """Asks the database at most once a second, however many want to know."""

    database: Database
    clock: Clock
    _reason: str | None = attrs.field(default=None, init=False)
    _asked_at: float = attrs.field(default=float("-inf"), init=False)
    _asking: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def refusal(self) -> str | None:
        """Why the database takes no writes now; None when it does. Raises StorageUnavailable when it is away."""
        async with self._asking:
            if self.clock.monotonic() - self._asked_at >= EVERY:
                self._note(await self._ask())
                self._asked_at = self.clock.monotonic()
        return None if self._reason is None else NO_WRITES

    def _note(self, reason: str | None) -> None:
        if reason != self._reason:
            log.warning("the database takes no writes", reason=reason) if reason else log.info("it takes writes again")
        self._reason = reason

    async def _ask(self) -> str | None:
        if self.database.writability.refusal is not None:
            return await self._try()
        if self.database.is_sqlite or await self.database.read(postgresql.write_refusal) is None:
            return None
        await self.database.forget_sessions()
        return await self.database.read(postgresql.write_refusal)

    async def _try(self) -> str | None:
        """Whoever is not ready is sent no requests, so nobody else would notice that writes go through again."""
        try:
            await self.database.write(facts.set_fact, facts.WRITE_TRIED, True, now=self.clock.now())
        except StorageReadOnly as error:
            return str(error)
        return None
