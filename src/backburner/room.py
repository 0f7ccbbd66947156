"""Which queued jobs an instance may take: places of executors, handlers and organizations, counted down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from backburner.app import Handler


@attrs.define(kw_only=True, eq=False)
class Room:
    """What is free. `take` counts down; what is full shows in the properties, to be left out of the next look."""

    executors: dict[str, int]
    handlers: Mapping[str, Handler]
    organization_places: int  #: of one organization, all handlers together
    by_handler: dict[str, int] = attrs.field(factory=dict)  #: at work
    by_organization: dict[int, int] = attrs.field(factory=dict)
    by_both: dict[tuple[str, int], int] = attrs.field(factory=dict)

    def copy(self) -> Room:
        """Another one, to be counted down by itself."""
        return attrs.evolve(
            self,
            executors=dict(self.executors),
            by_handler=dict(self.by_handler),
            by_organization=dict(self.by_organization),
            by_both=dict(self.by_both),
        )

    @property
    def open_handlers(self) -> frozenset[str]:
        """Those of which at least one more job may be taken."""
        return frozenset(name for name, handler in self.handlers.items() if self._is_open(handler))

    @property
    def full_organizations(self) -> frozenset[int]:
        return frozenset(key for key, busy in self.by_organization.items() if busy >= self.organization_places)

    @property
    def full_pairs(self) -> frozenset[tuple[str, int]]:
        """Handlers with the organizations that have as many places in them as one may have."""
        return frozenset(pair for pair, busy in self.by_both.items() if busy >= self._most_of_one(pair[0]))

    @property
    def places(self) -> int:
        """How many jobs could be taken at most."""
        used = {self.handlers[name].executor for name in self.open_handlers}
        return sum(free for executor, free in self.executors.items() if executor in used)

    def take(self, handler: str, organization: int) -> bool:
        """Take a place for a job of this handler and organization; says whether there was one."""
        pair = (handler, organization)
        if handler not in self.open_handlers or organization in self.full_organizations or pair in self.full_pairs:
            return False
        self.executors[self.handlers[handler].executor] -= 1
        self.add_busy([pair])
        return True

    def add_busy(self, pairs: Iterable[tuple[str, int]]) -> None:
        """Count jobs at work: (handler, organization). The executors' places are counted by themselves."""
        for handler, organization in pairs:
            self.by_handler[handler] = self.by_handler.get(handler, 0) + 1
            self.by_organization[organization] = self.by_organization.get(organization, 0) + 1
            pair = (handler, organization)
            self.by_both[pair] = self.by_both.get(pair, 0) + 1

    def _is_open(self, handler: Handler) -> bool:
        if self.executors.get(handler.executor, 0) <= 0:
            return False
        return handler.concurrency is None or self.by_handler.get(handler.name, 0) < handler.concurrency

    def _most_of_one(self, name: str) -> float:
        most = self.handlers[name].per_organization if name in self.handlers else None
        return float("inf") if most is None else most
