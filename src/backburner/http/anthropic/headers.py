"""What Anthropic's clients say in headers."""

from __future__ import annotations

from collections.abc import Mapping

from werkzeug.datastructures import Headers

from backburner.errors import Invalid

VERSION = "anthropic-version"
VERSIONS = ("2023-06-01", "2026-10-21")
#: What else goes to the provider with the batch.
PASSED_ON = ("anthropic-beta", "anthropic-workspace-id", "anthropic-user-profile-id")
ATTEMPT = "x-stainless-retry-count"


def check_version(headers: Headers) -> None:
    """Raises Invalid unless one of the versions that are spoken here is asked for."""
    given = headers.get(VERSION)
    if given is None:
        raise Invalid(f"{VERSION}: header is required")
    if given not in VERSIONS:
        raise Invalid(f"{VERSION}: {given!r} is not a valid version; {' and '.join(VERSIONS)} are.")


def provider_options(headers: Headers) -> Mapping[str, str]:
    """Version, betas and the rest, as the provider is to get them. Raises Invalid for what no header may hold."""
    found = {VERSION: headers[VERSION]}
    for name in PASSED_ON:
        values = [value.strip() for value in headers.getlist(name) if value.strip()]
        if not all(value.isascii() and value.isprintable() for value in values):
            raise Invalid(f"{name}: only printable ASCII is allowed.")
        if values:
            found[name] = ",".join(values)
    return found


def attempt_of(headers: Headers) -> int:
    """Which repetition by the client itself this is; 0 for the first attempt, and where it is not said."""
    text = headers.get(ATTEMPT, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
