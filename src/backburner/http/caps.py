"""How many connections may be open."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import attrs


@attrs.define
class ConnectionCaps:
    """How many connections are open, in all and per address."""

    total: int = 1000
    per_address: int = 100
    _open: Counter[str] = attrs.field(factory=Counter, init=False)

    @contextlib.contextmanager
    def admit(self, address: str) -> Iterator[bool]:
        """Counts a connection while the block runs, if there is room for it; yields whether there is."""
        admitted = self._open.total() < self.total and self._open[address] < self.per_address
        self._open[address] += admitted
        try:
            yield admitted
        finally:
            self._open[address] -= admitted
            if not self._open[address]:
                del self._open[address]
