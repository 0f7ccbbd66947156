"""When a provider batch is polled next, and how long to wait after a failure."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from random import Random

import attrs

from backburner.backoff import Backoff

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_POLL = 5.0  # seconds after submission: short batches end within a minute
ROUNDING = 0.01  # seconds; a look on the grid is one, although the time of it was rounded
GROWTH = 0.5  # a batch is polled again after half of its age, so young ones sooner than old ones
RETRY_AFTER_CAP = 600.0  # seconds; a provider that asks for more is asked again after this all the same
FAILURE_CAP = 300.0
FAILURES = Backoff(first=2.0, cap=FAILURE_CAP, low=1.0, high=1.25)
LONG_DENIED = timedelta(hours=1)  # of nothing but 404; from then on it is asked less often
DENIED_LOOKS = timedelta(minutes=30)
DENIED_FOR = timedelta(hours=24)  # of nothing but 404, before it may mean something
#: The same for a batch whose job is being ended: whoever wants that waits no longer for what may be there.
DENIED_WHILE_STOPPING = timedelta(minutes=10)


def next_poll(submitted_at: datetime, now: datetime, *, interval: float, phase: float) -> datetime:
    """When to look again at a batch that is not done: the older, the later, after `interval` seconds at most.

    Batches of about the same age fall due together, so that one listing shows them all: the time is the last on a
    grid of `interval` (half of it, a quarter … for younger ones) before the wait is over. `phase` seconds shift the
    grid, so that not everybody's batches are polled at the full minute.
    """
    age = max(0.0, (now - submitted_at).total_seconds())
    wait = min(interval, max(FIRST_POLL, age * GROWTH))
    grid = interval
    while grid > wait:
        grid /= 2
    since_grid = (now - EPOCH).total_seconds() - phase
    return now + timedelta(seconds=grid * math.floor((since_grid + wait + ROUNDING) / grid) - since_grid)


def after_failure(failures: int, now: datetime, *, retry_after: float | None, random: Random) -> datetime:
    """When to try again after `failures` failures in a row. A wish of the provider is honoured up to a cap."""
    if retry_after is not None and retry_after > 0:
        return now + timedelta(seconds=FAILURES.spread(min(retry_after, RETRY_AFTER_CAP), random))
    return now + timedelta(seconds=FAILURES.wait(failures, random))


def after_denial(due: datetime, not_found_since: datetime | None, now: datetime) -> datetime:
    """When to ask again after a failure that was to wait until `due`: later, once it has been 404 for long."""
    if not_found_since is None or now - not_found_since < LONG_DENIED:
        return due
    return max(due, now + DENIED_LOOKS)


def may_be_lost(*, not_found_since: datetime, made_at: datetime, retention: timedelta, now: datetime) -> bool:
    """Whether a batch that is answered with nothing but 404 can be gone, so that the whole listing is worth a look.

    A wrong key, another workspace, a replica that lags behind all answer 404. Only what the provider has kept for as
    long as it keeps anything may be gone; `made_at` is by the provider's clock, `retention` from then on.
    """
    return now - not_found_since >= DENIED_FOR and now - made_at >= retention


@attrs.define
class Quiet:
    """A rate limit is the account's: what one poller is asked holds for all of them. Times are monotonic seconds."""

    until: float = float("-inf")

    def ask(self, seconds: float, now: float, *, longest: float) -> None:
        """The provider asks for a pause. More than `longest` would hold up batches that nothing is wrong with."""
        self.until = max(self.until, now + min(seconds, longest))

    def left(self, now: float) -> float:
        """Seconds of pause that are left; 0 when none is."""
        return max(0.0, self.until - now)


def tick_jitter(interval: float, jitter: float, random: Random) -> float:
    """Seconds until the next regular tick: the interval ± the jitter, of which at most a quarter interval counts."""
    bound = min(jitter, interval / 4)
    return interval + random.uniform(-bound, bound)
