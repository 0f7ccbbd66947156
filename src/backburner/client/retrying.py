"""Which failed calls are made again, and when."""

from __future__ import annotations

from random import Random

import attrs
import httpx2

from backburner.backoff import Backoff, retry_after
from backburner.client.errors import ServerUnreachable, api_error

#: The server says itself that nothing was done.
_NOT_DONE = frozenset({429, 503})
#: The connection was never made, so nothing was done.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@attrs.frozen(kw_only=True)
class Retries:
    """How often and how long. Waits are in seconds."""

    tries: int = 5
    first_wait: float = 0.2
    longest_wait: float = 30.0

    def wait(self, *, attempt: int, wish: float | None, random: Random) -> float | None:
        """How long to wait after the failed `attempt` (from 1); None to give up.

        The server's wish, in seconds, is followed; one for more than `longest_wait` cannot be, so it ends the call.
        Without a wish the wait doubles, jittered by half.
        """
        if attempt >= self.tries:
            return None
        if wish is not None:
            return wish if wish <= self.longest_wait else None
        return Backoff(first=self.first_wait, cap=self.longest_wait, low=0.5).wait(attempt, random)


@attrs.define(kw_only=True)
class Attempts:
    """One call with its repetitions: says after each failure how long to wait, or raises what it comes to."""

    url: str
    repeatable: bool
    retries: Retries
    random: Random
    _made: int = attrs.field(default=0, init=False)

    def broken(self, error: httpx2.TransportError) -> float:
        """Seconds to wait. Raises ServerUnreachable."""
        wait = self._wait(None) if may_repeat_error(error, repeatable=self.repeatable) else None
        if wait is None:
            raise ServerUnreachable(f"Cannot reach {self.url}: {reason(error)}.") from error
        return wait

    def refused(self, response: httpx2.Response) -> float:
        """Seconds to wait after an answer that is no success and was read. Raises ApiError."""
        wait = self._wait(retry_after(response.headers)) if may_repeat_answer(response) else None
        if wait is None:
            raise api_error(response)
        return wait

    def _wait(self, wish: float | None) -> float | None:
        self._made += 1
        return self.retries.wait(attempt=self._made, wish=wish, random=self.random)


def reason(error: Exception) -> str:
    """What went wrong, on one line and without a full stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def may_repeat_error(error: httpx2.TransportError, *, repeatable: bool) -> bool:
    """`repeatable`: doing it twice is the same as doing it once."""
    return repeatable or isinstance(error, _NOT_SENT)


def may_repeat_answer(response: httpx2.Response) -> bool:
    """Also 409 with Retry-After: the same idempotency key is still being worked on."""
    return response.status_code in _NOT_DONE or (response.status_code == 409 and "retry-after" in response.headers)
