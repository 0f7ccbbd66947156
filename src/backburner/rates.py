"""How often something may happen: token buckets, in memory that does not grow."""

from __future__ import annotations

import math
from collections import OrderedDict

import attrs

MOST_BUCKETS = 10_000  # beyond, the one that was used longest ago is forgotten, which only favours its owner


@attrs.frozen
class Taken:
    """What became of asking for one token."""

    allowed: bool
    limit: int  #: tokens of a full bucket
    remaining: int  #: whole tokens that are left
    reset: int  #: seconds until the bucket is full
    retry_after: int  #: seconds until there is a token; 0 when this was allowed


@attrs.define(eq=False)
class Buckets:
    """One bucket per name: full at first, `rate` tokens come back per second, at most `burst` are held.

    Times are seconds of any clock that does not go back; they come from the caller.
    """

    rate: float
    burst: int
    _held: OrderedDict[str, tuple[float, float]] = attrs.field(factory=OrderedDict, init=False)  # tokens, as of when

    def take(self, name: str, now: float) -> Taken:
        """Take a token, if there is one."""
        tokens = self._tokens(name, now)
        allowed = tokens >= 1
        if allowed:
            tokens -= 1
        self._held[name] = (tokens, now)
        self._held.move_to_end(name)
        if len(self._held) > MOST_BUCKETS:
            self._held.popitem(last=False)
        return self._told(tokens, allowed=allowed)

    def look(self, name: str, now: float) -> Taken:
        """What taking a token would tell; takes none."""
        tokens = self._tokens(name, now)
        return self._told(tokens, allowed=tokens >= 1)

    def _tokens(self, name: str, now: float) -> float:
        tokens, at = self._held.get(name, (float(self.burst), now))
        return min(self.burst, tokens + (now - at) * self.rate)

    def _told(self, tokens: float, *, allowed: bool) -> Taken:
        wait = 0 if allowed else max(1, math.ceil((1 - tokens) / self.rate))
        full = math.ceil((self.burst - tokens) / self.rate)
        return Taken(allowed=allowed, limit=self.burst, remaining=int(tokens), reset=full, retry_after=wait)
