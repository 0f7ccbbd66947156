"""How many functions are at work in one kind of executor, those that were given up and still run included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import attrs


@attrs.define(eq=False)
class Places:
    """Counts from any thread. A place is taken until the function really ends."""

    total: int
    _taken: int = attrs.field(default=0, init=False)
    _abandoned: int = attrs.field(default=0, init=False)
    _lock: Lock = attrs.field(factory=Lock, init=False)

    @property
    def taken(self) -> int:
        return self._taken

    @property
    def free(self) -> int:
        return max(0, self.total - self._taken)

    @property
    def abandoned(self) -> int:
        """How many run on although nobody waits for them any more."""
        return self._abandoned

    def take(self) -> None:
        with self._lock:
            self._taken += 1

    def give_back(self) -> None:
        with self._lock:
            self._taken -= 1

    def abandon(self, by: int = 1) -> None:
        with self._lock:
            self._abandoned += by

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place for the block."""
        self.take()
        try:
            yield
        finally:
            self.give_back()
