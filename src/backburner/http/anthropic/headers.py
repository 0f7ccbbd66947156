"""What Anthropic's clients say in headers."""

from __future__ import annotations

from werkzeug.datastructures import Headers

from backburner.errors import Invalid
from backburner.http.provider_options import VERSION, VERSIONS

ATTEMPT = "x-stainless-retry-count"


def check_version(headers: Headers) -> None:
    """Raises Invalid unless one of the versions that are spoken here is asked for."""
    given = headers.get(VERSION)
    if given is None:
        raise Invalid(f"{VERSION}: header is required")
    if given not in VERSIONS:
        raise Invalid(f"{VERSION}: {given!r} is not a valid version; {' and '.join(VERSIONS)} are.")


def attempt_of(headers: Headers) -> int:
    """Which repetition by the client itself this is; 0 for the first attempt, and where it is not said."""
    text = headers.get(ATTEMPT, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
