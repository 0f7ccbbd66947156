"""The promises, as checks. A new one is a class in this package and a line in `INVARIANTS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from simulation.invariants.agents import Ledger, Rounds
from simulation.invariants.base import Invariant
from simulation.invariants.counts import Counting, Results
from simulation.invariants.courtesy import Courtesy
from simulation.invariants.deliveries import Outbox, Webhooks
from simulation.invariants.jobs import Acknowledged, Endings, Once
from simulation.invariants.leadership import Fenced, OneSubmitter, Trusted
from simulation.invariants.provider import Cancelled, Forgotten, GivenUp, PaidOnce, Polls
from simulation.invariants.work import Claims, Orders

if TYPE_CHECKING:
    from simulation.world import World

#: Each is told of every commit, call, answer and webhook of a run. The order is that in which they are asked.
INVARIANTS: tuple[Callable[[World], Invariant], ...] = (
    Endings,
    Acknowledged,
    Once,
    Counting,
    Results,
    Outbox,
    Webhooks,
    Fenced,
    OneSubmitter,
    Trusted,
    Courtesy,
    PaidOnce,
    Cancelled,
    GivenUp,
    Polls,
    Forgotten,
    Rounds,
    Ledger,
    Claims,
    Orders,
)

__all__ = ["INVARIANTS", "Invariant"]
