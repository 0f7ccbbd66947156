"""Times: how they are written in everything that leaves this program, and reckoned with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def rfc3339(moment: datetime) -> str:
    """An aware time as RFC 3339 in UTC, always with six digits of microseconds and `Z`, so that texts sort as times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def later(moment: datetime, seconds: float) -> datetime:
    """The time so many seconds later."""
    return moment + timedelta(seconds=seconds)
