"""What happened, step by step: hashed as a whole, kept for the last moments."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

import attrs
import trio

KEPT = 40  # events that a failure shows


@attrs.define(eq=False)
class Trace:
    """Two runs of a seed have the same `digest`, or the simulation is not deterministic."""

    show: Callable[[str], None] | None = None  # is called with every event
    step: int = 0
    last: deque[str] = attrs.field(factory=lambda: deque(maxlen=KEPT))
    _hash: hashlib.blake2b = attrs.field(factory=lambda: hashlib.blake2b(digest_size=16))

    def took_step(self, name: str) -> None:
        """A task took a step."""
        self.step += 1
        self._hash.update(name.partition(" object at ")[0].encode())

    def event(self, text: str) -> None:
        """Something crossed the border of an instance."""
        line = f"{self.step:7d} {trio.current_time():10.3f}  {text}"
        self._hash.update(line.encode())
        self.last.append(line)
        if self.show is not None:
            self.show(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
