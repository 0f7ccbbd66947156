"""Those whom we ask: who says when it wants to be asked again is not asked before."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
import trio

from simulation.invariants.base import Invariant

if TYPE_CHECKING:
    from simulation.network import Message

#: Written down again, not taken from the program: it may be wrong there.
LONGEST = 600.0  # seconds for which the provider is left alone, whatever it asks for
LONGEST_FOR_WEBHOOKS = 10.0  # twice the shortest step of their schedule
ROUNDING = 0.001  # seconds; times of day are kept in microseconds

Asked = tuple[int, str]


@attrs.define(eq=False)
class Courtesy(Invariant):
    name: ClassVar[str] = "who asks for time is given it"

    #: From when until when, by the term and what was asked for.
    _pauses: dict[Asked, tuple[float, float]] = attrs.field(factory=dict)
    _asked: dict[int, Asked] = attrs.field(factory=dict)  # by message under way

    def sending(self, message: Message) -> None:
        asked = self._what(message)
        if asked is None:
            return
        self._asked[id(message)] = asked
        begin, end = self._pauses.get(asked, (0.0, 0.0))
        now = trio.current_time()
        if begin < now < end - ROUNDING:  # what was about to be sent in the moment of the answer is sent
            self.broken(f"{message.life.name} asks {message.what} {end - now:.3f} s too early")

    def given_up(self, message: Message) -> None:
        asked = self._asked.pop(id(message), None)
        if asked is not None and message.asks_to_wait:
            now = trio.current_time()
            self._pauses[asked] = (now, now + min(message.asks_to_wait, self._longest(asked[1])))

    def _what(self, message: Message) -> Asked | None:
        """A rate limit is the account's. A new leader does not know of it, and clocks that jump forget."""
        knows_the_time = not self.world.profile.clock_jumps
        if message.to == "webhook":
            webhook_id = message.request.headers["webhook-id"]
            return (0, webhook_id) if knows_the_time and not self._is_wanted_now(webhook_id) else None
        term = self.mirror.epoch["epoch"]
        if message.batch_id:
            row = self.mirror.batches.get(self.mirror.at_provider.get(message.batch_id, -1))
            return (term, "polls") if row is not None and row["status"] == "submitted" else None
        return (term, "submissions") if message.request.method == "POST" and knows_the_time else None

    def _is_wanted_now(self, webhook_id: str) -> bool:
        row = self.mirror.delivery(webhook_id)
        return row is not None and self.is_sent_by_hand(row)

    def _longest(self, what: str) -> float:
        if what == "polls":  # more would hold up batches that nothing is wrong with
            return self.world.profile.pace.interval
        return LONGEST if what == "submissions" else LONGEST_FOR_WEBHOOKS
