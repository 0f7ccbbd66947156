"""Which of the claimed deliveries may be attempted now, so that no receiver holds up another."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

import attrs

from backburner.model import DueDelivery

REMEMBERED = 4096  # receivers
WAITING_PER_SLOT = 8  # claimed deliveries that may wait here for their receiver


@attrs.frozen
class Waiting:
    """A claimed delivery whose receiver or organization is at its limit."""

    due: DueDelivery
    start_before: float  # monotonic; later its lease might end under the attempt


@attrs.define(kw_only=True)
class DeliverySlots:
    """Who is being called and who waits. Knows no time and does nothing by itself.

    A receiver is called once at a time until it has answered promptly, then `per_receiver` times. One whose last
    answer was late or missing is slow: once at a time again, and all slow ones together use a quarter of the slots.
    So no number of hanging receivers can keep every slot for longer than their first call.
    """

    total: int
    per_receiver: int
    per_organization: int
    running: dict[int, DueDelivery] = attrs.field(factory=dict, init=False)
    waiting: list[Waiting] = attrs.field(factory=list, init=False)
    #: Whether a receiver was prompt to answer its last call; those called least recently are forgotten.
    prompt: OrderedDict[str, bool] = attrs.field(factory=OrderedDict, init=False)
    _of_receiver: Counter[str] = attrs.field(factory=Counter, init=False)
    _of_organization: Counter[int] = attrs.field(factory=Counter, init=False)
    _slow_keys: set[int] = attrs.field(factory=set, init=False)  # running, and their receiver was slow when they began

    @property
    def free(self) -> int:
        return self.total - len(self.running)

    def wait(self, claimed: Sequence[DueDelivery], start_before: float) -> None:
        """Take in claimed deliveries. What is too many is let go: its lease gives it back."""
        self.waiting += [Waiting(due, start_before) for due in claimed if due.key not in self.running]

    def start(self, now: float) -> list[DueDelivery]:
        """Those that begin now, oldest claims first; they count as running from here on."""
        started: list[DueDelivery] = []
        still_waiting: list[Waiting] = []
        for entry in self.waiting:
            if now > entry.start_before:
                continue
            if self._may_start(entry.due):
                self._begin(entry.due)
                started.append(entry.due)
            else:
                still_waiting.append(entry)
        self.waiting = still_waiting[: self.total * WAITING_PER_SLOT]
        return started

    def heard(self, receiver: str, *, prompt: bool) -> None:
        """How a receiver took a call: answered in good time, or late or not at all."""
        self.prompt[receiver] = prompt
        self.prompt.move_to_end(receiver)
        if len(self.prompt) > REMEMBERED:
            self.prompt.popitem(last=False)

    def finish(self, due: DueDelivery) -> None:
        """An attempt is over and recorded; its slot is free."""
        del self.running[due.key]
        self._slow_keys.discard(due.key)
        # Subtracting counters also drops zeros: what is not being called takes no memory.
        self._of_receiver -= Counter([due.receiver])
        self._of_organization -= Counter([due.organization_key])

    def busy_receivers(self) -> frozenset[str]:
        """Those for which nothing more should be claimed now."""
        busy = {receiver for receiver in self._of_receiver if self._is_full(receiver)}
        if self._slow_slots_full():
            busy |= {receiver for receiver, prompt in self.prompt.items() if not prompt}
        return frozenset(busy)

    def busy_organizations(self) -> frozenset[int]:
        """Those for which nothing more should be claimed now, by key."""
        return frozenset(key for key, count in self._of_organization.items() if count >= self.per_organization)

    def _may_start(self, due: DueDelivery) -> bool:
        if self.free == 0 or self._is_full(due.receiver):
            return False
        if self._of_organization[due.organization_key] >= self.per_organization:
            return False
        return not (self._is_slow(due.receiver) and self._slow_slots_full())

    def _begin(self, due: DueDelivery) -> None:
        self.running[due.key] = due
        self._of_receiver[due.receiver] += 1
        self._of_organization[due.organization_key] += 1
        if self._is_slow(due.receiver):
            self._slow_keys.add(due.key)

    def _is_slow(self, receiver: str) -> bool:
        return self.prompt.get(receiver) is False

    def _is_full(self, receiver: str) -> bool:
        limit = self.per_receiver if self.prompt.get(receiver) else 1
        return self._of_receiver[receiver] >= limit

    def _slow_slots_full(self) -> bool:
        return len(self._slow_keys) >= max(1, self.total // 4)
