"""What follows when a handler fails: another attempt, when, or the end; and when a handler is not tried for a while."""

from __future__ import annotations

from random import Random

import attrs

from backburner.app import Handler
from backburner.backoff import Backoff
from backburner.errors import WorkFailed

LONGEST_WISH = 86_400.0  # seconds that a handler may ask to be left alone
TRIP_AFTER = 10  # failures in a row, with no success between
REST_FIRST = 30.0  # seconds; doubles
REST_CAP = 600.0


def next_attempt_in(handler: Handler, attempt: int, failure: WorkFailed, random: Random) -> float | None:
    """Seconds until the attempt after `attempt` (from 1), which failed; None when there is none."""
    if attempt >= handler.max_attempts or not failure.may_retry:
        return None
    if failure.retry_after is not None:
        return min(LONGEST_WISH, max(0.0, failure.retry_after))
    backoff = Backoff(first=handler.backoff_seconds, cap=handler.backoff_cap_seconds, low=0.5)
    return backoff.wait(attempt, random)


def failure_json(failure: WorkFailed, attempt: int) -> dict[str, object]:
    """What the job shows of it."""
    shown: dict[str, object] = {"code": failure.code, "message": failure.message, "attempt": attempt}
    if failure.details is not None:
        shown["details"] = failure.details
    return shown


@attrs.define(eq=False)
class Breaker:
    """Leaves a handler alone for a while when it only fails; then lets one job through to see."""

    failures: int = 0  #: in a row
    open_until: float | None = None  #: in monotonic seconds; None: closed
    is_probing: bool = False
    _rest: float = REST_FIRST

    def lets_in(self, now: float) -> bool:
        """Whether a job of the handler may be taken."""
        return self.open_until is None or (now >= self.open_until and not self.is_probing)

    def taken(self) -> None:
        """A job of the handler was taken."""
        self.is_probing = self.open_until is not None

    def succeeded(self) -> None:
        self.failures, self.open_until, self.is_probing, self._rest = 0, None, False, REST_FIRST

    def failed(self, now: float) -> bool:
        """Says whether that opened it."""
        self.failures += 1
        if self.failures < TRIP_AFTER or (self.open_until is not None and not self.is_probing):
            return False
        self.open_until, self.is_probing = now + self._rest, False
        self._rest = min(REST_CAP, 2 * self._rest)
        return True

    def left(self) -> None:
        """A job ended without success or failure of the handler: the next one probes."""
        self.is_probing = False
