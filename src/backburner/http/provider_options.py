"""What a client asks for in headers that goes to the provider with its batch, and who may ask for what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from werkzeug.datastructures import Headers

from backburner.errors import Invalid
from backburner.http.problem import Refused

VERSION = "anthropic-version"
VERSIONS = ("2023-06-01", "2026-10-21")
BETA = "anthropic-beta"
#: Beside the version. `serving` reads the setting that opens them to other organizations than the first.
PASSED_ON = (BETA, "anthropic-workspace-id", "anthropic-user-profile-id")
#: What every client of batches may say.
OPEN_BETA = "message-batches-2024-09-24"
SETTING = "tenant_provider_headers"


def options_of(headers: Headers, *, is_operator: bool, allowed: frozenset[str]) -> Mapping[str, str]:
    """Version, betas, workspace and user profile, as the provider is to get them; what is not given is left out.

    Raises Invalid for what no header may hold, Refused (400) for what the caller may not ask for.
    """
    found = {name: text for name in (VERSION, *PASSED_ON) if (text := _value(headers, name))}
    check_options(found, is_operator=is_operator, allowed=allowed)
    return found


def check_options(options: Mapping[str, str], *, is_operator: bool, allowed: frozenset[str]) -> None:
    """Whether a caller may ask for these. Raises Invalid and Refused (400)."""
    if options.get(VERSION, VERSIONS[0]) not in VERSIONS:
        raise Invalid(f"{VERSION}: {options[VERSION]!r} is not a valid version; {' and '.join(VERSIONS)} are.")
    if is_operator:
        return
    for name, value in _pairs(options):
        if not {name, f"{name}={value}"} & allowed:
            message = f"The header {name}: {value} is not open to this organization; the setting {SETTING} opens it."
            raise Refused(400, "provider_header_forbidden", message, param=name)


def refuse_options(headers: Headers) -> None:
    """For what is no batch: such a header would have no effect. Raises Refused (400)."""
    for name in PASSED_ON:
        if name in headers:
            message = f"The header {name} has no effect here; batches, runs and /anthropic take it."
            raise Refused(400, "provider_header_forbidden", message, param=name)


def _value(headers: Headers, name: str) -> str:
    values = [value.strip() for value in headers.getlist(name) if value.strip()]
    if not all(value.isascii() and value.isprintable() for value in values):
        raise Invalid(f"{name}: only printable ASCII is allowed.")
    return ",".join(values)


def _pairs(options: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What needs leave, one by one."""
    for name in PASSED_ON:
        values = options.get(name, "")
        for value in map(str.strip, values.split(",") if name == BETA else [values]):
            if value and value != OPEN_BETA:
                yield name, value
