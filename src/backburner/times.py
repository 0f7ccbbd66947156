"""How times are written in everything that leaves this program."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """An aware time as RFC 3339 in UTC, always with six digits of microseconds and `Z`, so that texts sort as times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
