"""Whether the server takes work now: asked before a request's body is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from backburner.clock import Clock
from backburner.http.problem import Refused

MOST_CHANGES = 256  # requests under way that change something
#: How long the database is taken to be away after a request found it so; then the next one tries.
AWAY_SECONDS = 1.0
RETRY_SECONDS = 2
#: Methods that change nothing. They are let in always: reading needs no queue, and health is asked for by them.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@attrs.define(eq=False)
class Door:
    """Sheds load: a request that cannot be served soon is refused while it has cost next to nothing."""

    clock: Clock
    #: Why nothing that changes something should be let in, if so.
    overload: Callable[[], str | None]
    most: int = MOST_CHANGES
    _inside: int = attrs.field(default=0, init=False)
    _away_until: float = attrs.field(default=float("-inf"), init=False)

    def refusal(self, method: str) -> Refused | None:
        """Why a request is turned away now, if so."""
        if method in SAFE:
            return None
        if self.clock.monotonic() < self._away_until:
            return _refused("unavailable", "The database is away; try again later.")
        if self._inside >= self.most:
            return _refused("overloaded", "Too many requests are under way; try again later.")
        reason = self.overload()
        return None if reason is None else _refused("overloaded", f"The server {reason}; try again later.")

    def let_in(self, method: str) -> None:
        """Raises Refused (503) for what is turned away."""
        reason = self.refusal(method)
        if reason is not None:
            raise reason

    @contextmanager
    def inside(self, method: str) -> Iterator[None]:
        """Count a request while the block runs."""
        weight = method not in SAFE
        self._inside += weight
        try:
            yield
        finally:
            self._inside -= weight

    def database_away(self) -> None:
        """A request found the database away."""
        self._away_until = self.clock.monotonic() + AWAY_SECONDS


def _refused(code: str, message: str) -> Refused:
    return Refused(503, code, message, headers={"Retry-After": str(RETRY_SECONDS)})
