"""Chance of everything that can go wrong between an instance and the world, as long as faults are on."""

from __future__ import annotations

from random import Random

import attrs

LONGEST_DELAY = 90.0  # seconds


@attrs.frozen(kw_only=True)
class Rates:
    """How often each thing goes wrong, from 0 to 1, for each transaction or message."""

    # the database
    away: float = 0.0  # nothing happens, the caller is told so
    unknown: float = 0.0  # it is committed, the caller is told that the database is away
    torn: float = 0.0  # fails in the middle: disk full, connection lost
    again: float = 0.0  # the database asks to run it again
    slow: float = 0.0
    # the network
    lost: float = 0.0  # does not arrive
    unanswered: float = 0.0  # arrives, has its effect, and the answer does not
    late: float = 0.0
    dragging: float = 0.0  # a pause between two pieces of an upload
    repeated: float = 0.0  # arrives twice, where a proxy may do that
    # the instance
    die_before: float = 0.0  # a transaction, or a message
    die_within: float = 0.0  # a transaction
    die_after: float = 0.0
    freeze: float = 0.0  # right before a transaction or a message, for longer than anybody trusts it


@attrs.define(eq=False)
class Chaos:
    """Decides. `is_on` is false in the calm phase."""

    random: Random
    rates: Rates
    is_on: bool = True
    away_until: float = float("-inf")  # the database answers nobody

    def strikes(self, rate: str) -> bool:
        """Whether this goes wrong now."""
        chance: float = getattr(self.rates, rate)
        return self.is_on and chance > 0 and self.random.random() < chance

    def delay(self) -> float:
        """Seconds by which something is late; mostly a few, sometimes a minute."""
        return min(LONGEST_DELAY, self.random.lognormvariate(0.5, 1.5))
