"""How many connections may be open."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from enum import Enum, auto

import attrs

#: In the state of a connection's requests: whether only questions for the server's health are answered.
RESERVED = "backburner.reserved"


class Admission(Enum):
    """What a new connection is for."""

    FULL = auto()
    RESERVED = auto()  #: there is no room left, but whoever watches the server must still hear from it
    NONE = auto()


@attrs.define
class ConnectionCaps:
    """How many connections are open, in all and per address."""

    total: int = 1000
    per_address: int = 100
    reserve: int = 16  #: beyond those
    _open: Counter[str] = attrs.field(factory=Counter, init=False)
    _reserved: int = attrs.field(default=0, init=False)

    @contextlib.contextmanager
    def admit(self, address: str) -> Iterator[Admission]:
        """Counts a connection while the block runs, if there is room for it; yields what it may be used for."""
        if self._open.total() < self.total and self._open[address] < self.per_address:
            self._open[address] += 1
            try:
                yield Admission.FULL
            finally:
                self._open[address] -= 1
                if not self._open[address]:
                    del self._open[address]
        elif self._reserved < self.reserve:
            self._reserved += 1
            try:
                yield Admission.RESERVED
            finally:
                self._reserved -= 1
        else:
            yield Admission.NONE
