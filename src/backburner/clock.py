"""Time, injected: wall time for rows, monotonic time for waits."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

import attrs
import trio

# Linux's CLOCK_BOOTTIME also counts while the host is suspended, so that a resumed process sees that its term
# is over. Elsewhere the ordinary monotonic clock has to do.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """Where everything that needs the time gets it."""

    def now(self) -> datetime:
        """Wall time, aware, UTC. It may jump; never measure a duration with it."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251  # this is where it comes from

    def monotonic(self) -> float:
        if _BOOTTIME is not None:
            return time.clock_gettime(_BOOTTIME)
        return time.monotonic()


@attrs.define
class TrioClock:
    """Both clocks derived from Trio's, so that a `MockClock` moves timestamps, leases and schedules alike."""

    epoch: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    #: The wall clock's error against monotonic time; tests move it to make the wall clock jump.
    skew: timedelta = timedelta()

    def now(self) -> datetime:
        return self.epoch + timedelta(seconds=trio.current_time()) + self.skew

    def monotonic(self) -> float:
        return trio.current_time()
