"""Rate limits of requests: per key, and per address for keys that are none."""

from __future__ import annotations

import attrs

from backburner.clock import Clock
from backburner.http.addresses import counted_as
from backburner.http.problem import Refused
from backburner.rates import Buckets, Taken

#: Of the bucket per address.
FAILURES_BURST = 20


@attrs.frozen(kw_only=True)
class RateLimits:
    """How much is let through; None means everything."""

    requests_per_second: float | None = None  #: of one key, in the long run
    burst: int = 100  #: requests of one key at once
    failures_per_minute: float | None = None  #: refused keys from one address; loopback is exempt


@attrs.define(eq=False)
class Limiter:
    """What each key and each address has used up lately."""

    clock: Clock
    limits: RateLimits
    _requests: Buckets | None = attrs.field(init=False)
    _failures: Buckets | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        limits = self.limits
        requests, failures = limits.requests_per_second, limits.failures_per_minute
        self._requests = None if requests is None else Buckets(requests, limits.burst)
        self._failures = None if failures is None else Buckets(failures / 60, FAILURES_BURST)

    def request(self, key_id: str) -> dict[str, str]:
        """Count a request of a key; the headers that tell what it has left. Raises Refused (429)."""
        if self._requests is None:
            return {}
        taken = self._requests.take(key_id, self.clock.monotonic())
        if not taken.allowed:
            raise _refused(taken, "This key makes too many requests.", rate_headers(taken))
        return rate_headers(taken)

    def may_fail(self, address: str | None) -> None:
        """Raises Refused (429) for an address that has presented too many keys that are none."""
        if self._failures is not None and (name := counted_as(address)) is not None:
            taken = self._failures.look(name, self.clock.monotonic())
            if not taken.allowed:
                raise _refused(taken, "Too many requests without a valid key came from this address.", {})

    def failed(self, address: str | None) -> None:
        """A key from this address was none."""
        if self._failures is not None and (name := counted_as(address)) is not None:
            self._failures.take(name, self.clock.monotonic())


def rate_headers(taken: Taken) -> dict[str, str]:
    """The fields of draft-ietf-httpapi-ratelimit-headers-06."""
    return {
        "RateLimit-Limit": str(taken.limit),
        "RateLimit-Remaining": str(taken.remaining),
        "RateLimit-Reset": str(taken.reset),
    }


def _refused(taken: Taken, message: str, headers: dict[str, str]) -> Refused:
    return Refused(429, "rate_limited", message, headers={**headers, "Retry-After": str(taken.retry_after)})
