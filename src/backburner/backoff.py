"""How long to wait before something is tried again: the one formula, and what a server wishes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

import attrs

MOST_DOUBLINGS = 60  # beyond them the cap decides anyway, and a float holds no more than 1,023
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{0,12})?")


@attrs.frozen(kw_only=True)
class Backoff:
    """A wait that doubles with each failure in a row, up to a cap, and is spread so that many do not come back at once.

    Times are in seconds. The wait is multiplied by a random factor between `low` and `high`.
    """

    first: float
    cap: float
    low: float = 1.0
    high: float = 1.0

    def wait(self, failures: int, random: Random) -> float:
        """Seconds to wait after `failures` in a row, from 1."""
        return self.spread(min(self.cap, self.first * 2.0 ** min(failures - 1, MOST_DOUBLINGS)), random)

    def spread(self, seconds: float, random: Random) -> float:
        """A wait that somebody else has named, spread in the same way."""
        return seconds if self.low == self.high == 1.0 else seconds * random.uniform(self.low, self.high)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds that an answer asks to be left alone, as a number or a date; None if it asks for nothing readable.

    A date counts from the answer's own `Date`, and only without one from `now`: the other side's clock wrote both.
    A date that is past is 0. Anthropic's `retry-after-ms` goes before. Keys of `headers` are lower case, or in any
    case.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return seconds
    then, since = http_date(text), http_date(headers.get("date")) or now
    return None if then is None or since is None else max(0.0, (then - since).total_seconds())


def http_date(text: str | None) -> datetime | None:
    """The date of an HTTP header, or None if there is none that can be read."""
    try:
        moment = parsedate_to_datetime(text) if text else None
        return None if moment is None else moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    found = (text or "").strip()
    return float(found) if _NUMBER.fullmatch(found) else None
