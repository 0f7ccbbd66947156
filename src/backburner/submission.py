"""Which planned batch is submitted next, and what follows from a submission of unknown outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random

import attrs

from backburner.backoff import Backoff
from backburner.errors import ProviderError, ProviderPaused, ProviderUnavailable
from backburner.polling import after_failure
from backburner.providers.base import BatchView


@attrs.frozen(kw_only=True)
class Candidate:
    """A planned provider batch that may be submitted now."""

    key: int
    organization_key: int
    provider: str
    item_count: int


def choose(
    candidates: Sequence[Candidate], queued: Mapping[int, int], *, most_queued: int, rather_not: int | None = None
) -> Candidate | None:
    """The batch to submit now: that of the organization with the fewest items at the provider.

    Not of the organization `rather_not`, if another one has any.

    None when it does not fit into `most_queued` items; it is then waited for, so that small batches do not starve a
    large one. A batch that is larger than the whole queue goes when the queue is empty.
    """
    if not candidates:
        return None
    others = [candidate for candidate in candidates if candidate.organization_key != rather_not] or candidates
    chosen = min(others, key=lambda candidate: (queued.get(candidate.organization_key, 0), candidate.key))
    total = sum(queued.values())
    return chosen if total == 0 or total + chosen.item_count <= most_queued else None


# --- the account -------------------------------------------------------------------------------------------

PROBE_CAP = 900.0  # seconds
PROBES = Backoff(first=60.0, cap=PROBE_CAP)  # until a paused account is tried again
ACTIVE, WAITING, PAUSED = "active", "waiting", "paused"
UNAUTHORIZED = 401
#: With these the provider may mean what a batch asks for by its options: a workspace, a beta, a user profile.
REFUSED_OPTIONS = frozenset({403, 404})
#: What every client sends along, and the provider takes from everybody.
PLAIN_OPTIONS = {"anthropic-version": None, "anthropic-beta": "message-batches-2024-09-24"}

Options = tuple[tuple[str, str], ...]


def special_options(options: Mapping[str, str]) -> Options:
    """Those of a batch's options that may be the reason why the provider refuses it and takes others."""
    return tuple(sorted(pair for pair in options.items() if PLAIN_OPTIONS.get(pair[0], "") not in {None, pair[1]}))


def is_about_options(error: ProviderError, options: Mapping[str, str]) -> bool:
    """Whether a refusal may be about the batch's options, so that it says nothing of the account."""
    refused = isinstance(error, ProviderPaused) and error.status in REFUSED_OPTIONS
    return refused and bool(special_options(options))


@attrs.define(kw_only=True)
class Account:
    """Whether a provider account takes submissions now. All submissions to it share its waits: a circuit breaker."""

    state: str = ACTIVE
    reason: str | None = None
    retry_at: datetime | None = None
    failures: int = 0  # in a row
    organization: int | None = None  # whose submission was the last that did not go through
    cleared_by_polls: bool = False  # whether a poll that is answered shows that the account works again

    def is_open(self, now: datetime) -> bool:
        """Whether a submission may be tried. No wait is longer than the cap: what seems to be is a clock's mistake."""
        return self.retry_at is None or not now < self.retry_at <= now + timedelta(seconds=PROBE_CAP)

    def succeeded(self) -> bool:
        """A submission went through. Returns whether that changes the state."""
        changed = self.state != ACTIVE
        self.state, self.reason, self.retry_at, self.failures = ACTIVE, None, None, 0
        self.organization = None
        self.cleared_by_polls = False
        return changed

    def poll_answered(self) -> bool:
        """A poll went through. Returns whether that changes the state."""
        return self.cleared_by_polls and self.succeeded()

    def poll_refused(self, error: ProviderPaused, now: datetime, random: Random) -> bool:
        """A poll was turned away for want of a working key or account. Returns whether that changes the state."""
        if self.state == PAUSED:
            return False
        self.failed(error, now, random)
        self.cleared_by_polls = True
        return True

    def failed(self, error: ProviderError, now: datetime, random: Random) -> datetime:
        """A submission was turned away or its outcome is unknown. Returns when the next one may be tried."""
        self.failures += 1
        self.reason = str(error)
        if isinstance(error, ProviderPaused):
            self.state = PAUSED
            self.cleared_by_polls = error.status == UNAUTHORIZED
            self.retry_at = now + timedelta(seconds=PROBES.wait(self.failures, random))
        else:
            self.state = WAITING
            wish = error.retry_after if isinstance(error, ProviderUnavailable) else None
            self.retry_at = after_failure(self.failures, now, retry_after=wish, random=random)
        return self.retry_at


# --- unknown outcomes --------------------------------------------------------------------------------------

MARGIN = 60.0  # seconds before the intent in which the provider's clock may have put the batch
#: The same for the last look before a submission is made again: the clocks of the instances that made it and that look
#: for it may be wrong by so many seconds, and still no batch is paid for twice.
LAST_MARGIN = 26 * 3600.0
LOOKS = 4  # while nothing is found, that many in the settling time
LEAST_LOOKS = 2  # in vain, before a submission is made again: one listing may have been read a moment too early
AMBIGUOUS = timedelta(hours=26)  # batches end within 24 hours, and their results then tell
#: For so long no other batch of the size is submitted while the outcome of one is unknown. After that they go on, and
#: a batch of that size is recognised by its results only.
HELD_BACK = timedelta(minutes=10)


def holds_back(intent_at: datetime, now: datetime) -> bool:
    """Whether batches of its size still wait for a submission of unknown outcome that was begun at `intent_at`.

    A time to come is a clock's mistake; more than a small one holds up nothing.
    """
    return abs(now - intent_at) <= HELD_BACK


@attrs.frozen
class Adopt:
    """This is the batch that the submission made, as far as the listing can tell. Its results will show."""

    view: BatchView


@attrs.frozen
class Resend:
    """No batch was made."""


@attrs.frozen
class LookAgain:
    """Not known yet."""

    seconds: float


@attrs.frozen
class Quarantine:
    """It will not be known without a person."""


Verdict = Adopt | Resend | LookAgain | Quarantine


def verdict(
    candidates: Sequence[BatchView],
    *,
    since_attempt: float,
    looks: int,
    age: timedelta,
    settle: float,
    interval: float,
    certain: bool = True,
) -> Verdict:
    """What to do about a submission, from the batches that it may have made.

    `since_attempt`: seconds since the attempt ended; `looks`: how many whole listings were looked at in vain, this one
    included; `age`: since the submission was begun; `certain`: a single candidate can be no other submission's of ours.
    """
    if len(candidates) == 1 and certain:
        return Adopt(candidates[0])
    if candidates:
        return Quarantine() if age > AMBIGUOUS else LookAgain(interval)
    if since_attempt < settle:
        return LookAgain(min(settle / LOOKS, settle - since_attempt))
    return Resend() if looks >= LEAST_LOOKS else LookAgain(settle / LOOKS)
