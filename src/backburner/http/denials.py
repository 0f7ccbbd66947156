"""What of the callers that are turned away can be seen: a counter, a warning now and then, rows in the audit log."""

from __future__ import annotations

import attrs
import structlog
from prometheus_client import CollectorRegistry, Counter

from backburner.clock import Clock
from backburner.errors import TransientError
from backburner.http.problem import Refused
from backburner.storage.audit import Entry, log_denial
from backburner.storage.database import Database

log = structlog.get_logger()

#: Seconds between two warnings of one reason, and between two audit rows of one key and action: who is turned away a
#: thousand times a second fills neither the log nor the database.
EVERY = 60.0
MOST_REMEMBERED = 10_000  # keys and actions

REASONS = {401: "key", 403: "scope", 429: "throttled"}


@attrs.define(kw_only=True, eq=False)
class Denials:
    """Counts who is turned away for want of a key, a scope or patience."""

    database: Database
    clock: Clock
    registry: CollectorRegistry = attrs.field(factory=CollectorRegistry, init=False)
    _counter: Counter = attrs.field(init=False)
    _warned: dict[str, float] = attrs.field(factory=dict, init=False)
    _unsaid: dict[str, int] = attrs.field(factory=dict, init=False)  # since the last warning, by reason
    _logged: dict[tuple[str | None, str], float] = attrs.field(factory=dict, init=False)

    @_counter.default
    def _made(self) -> Counter:
        found = Counter(
            "backburner_requests_denied", "Requests turned away, by reason.", ["reason"], registry=self.registry
        )
        for reason in REASONS.values():
            found.labels(reason)
        return found

    def note(self, refused: Refused, address: str | None) -> None:
        """A request was turned away. Statuses that say nothing of its sender are left out."""
        reason = REASONS.get(refused.status)
        if reason is None:
            return
        self._counter.labels(reason).inc()
        self._unsaid[reason] = self._unsaid.get(reason, 0) + 1
        now = self.clock.monotonic()
        if now - self._warned.get(reason, float("-inf")) >= EVERY:
            self._warned[reason] = now
            count = self._unsaid.pop(reason)
            log.warning("requests turned away", reason=reason, count=count, address=address, last=str(refused))

    async def write_down(self, entry: Entry) -> None:
        """A key tried what it may not do: one row a minute for each key and action."""
        tried, now = (entry.principal.key_id, entry.action), self.clock.monotonic()
        if now - self._logged.get(tried, float("-inf")) < EVERY:
            return
        if len(self._logged) >= MOST_REMEMBERED:
            self._logged.clear()
        self._logged[tried] = now
        try:
            await self.database.write(log_denial, entry)
        except TransientError as error:  # the caller gets its 403 all the same
            log.warning("a denial is not in the audit log", error=str(error), key=entry.principal.key_id)
