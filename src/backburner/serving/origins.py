"""Where time, chance and ids come from."""

from __future__ import annotations

from random import Random, SystemRandom

import attrs

from backburner.clock import Clock, SystemClock
from backburner.ids import Ids


@attrs.frozen(kw_only=True)
class Origins:
    """Where time, chance and ids come from."""

    clock: Clock = attrs.field(factory=SystemClock)
    random: Random = attrs.field(factory=SystemRandom)

    @property
    def ids(self) -> Ids:
        return Ids(self.clock, self.random)
