"""What it takes to be the one instance that submits and polls: the office, and the mandate it gives."""

from __future__ import annotations

from typing import Protocol

import attrs

from backburner.clock import Clock
from backburner.errors import LeadershipLost
from backburner.model import Term


class Leadership(Protocol):
    """How one instance wins, keeps and gives back the office. Used by one task at a time.

    At most one instance holds the office, but one that lost it may not know yet: every write of a term is
    fenced by its epoch and id. None of the methods raises when the database is away.
    """

    @property
    def refusal(self) -> str | None:
        """Why this instance cannot lead now, for people; None while it could."""
        ...

    async def campaign(self) -> Term | None:
        """Try once. A term returned is already recorded and has cut off every earlier one."""
        ...

    async def heartbeat(self, term: Term) -> bool:
        """Whether the term was still in office at some moment during this call. After False it never is again."""
        ...

    async def resign(self, term: Term, reason: str) -> None:
        """End the term; tell the others when the office is free. Does nothing for a term that is lost already."""
        ...

    async def chance(self, at_most: float) -> None:
        """Return when the office may have become free, or after `at_most` seconds."""
        ...


@attrs.define(kw_only=True, eq=False)
class Mandate:
    """A term, and the leader's word that it still holds. Callable checks are cheap; make one before each outside call.

    Trust is measured on a clock that also counts while the host is suspended.
    """

    term: Term
    _clock: Clock
    _trusted_until: float  #: on `Clock.monotonic()`

    @property
    def trusted(self) -> bool:
        return self._clock.monotonic() <= self._trusted_until

    def check(self) -> None:
        """Raise `LeadershipLost` unless the term was confirmed lately and is not over."""
        if not self.trusted:
            raise LeadershipLost(f"Term {self.term.epoch} is not confirmed any more.")

    def extend(self, until: float) -> None:
        """The term was confirmed: trust it until then."""
        self._trusted_until = until

    def end(self) -> None:
        """The term is over; every later check fails."""
        self._trusted_until = float("-inf")
