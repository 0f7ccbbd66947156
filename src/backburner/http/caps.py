"""How many connections may be open."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum, auto

import attrs

from backburner.http.addresses import counted_as

#: In the state of a connection's requests: whether only questions for the server's health are answered.
RESERVED = "backburner.reserved"


class Admission(Enum):
    """What a new connection is for."""

    FULL = auto()
    RESERVED = auto()  #: there is no room left, but whoever watches the server must still hear from it
    NONE = auto()


@attrs.define
class ConnectionCaps:
    """How many connections are open, in all and per address.

    A proxy on the same machine speaks for everybody, so loopback addresses are counted in all only.
    """

    total: int = 1000
    per_address: int = 100
    reserve: int = 16  #: beyond those
    name: Callable[[str], str | None] = counted_as  #: whose an address is; None: nobody's who has a cap
    _open: Counter[str | None] = attrs.field(factory=Counter, init=False)
    _reserved: int = attrs.field(default=0, init=False)

    @contextlib.contextmanager
    def admit(self, address: str) -> Iterator[Admission]:
        """Counts a connection while the block runs, if there is room for it; yields what it may be used for."""
        name = self.name(address)
        if self._open.total() < self.total and (name is None or self._open[name] < self.per_address):
            self._open[name] += 1
            try:
                yield Admission.FULL
            finally:
                self._open[name] -= 1
                if not self._open[name]:
                    del self._open[name]
        elif self._reserved < self.reserve:
            self._reserved += 1
            try:
                yield Admission.RESERVED
            finally:
                self._reserved -= 1
        else:
            yield Admission.NONE
