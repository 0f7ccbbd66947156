"""The one shape of every error answer, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from backburner.errors import BackburnerError

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "unavailable_error",
}


#: Every answer carries these, unless it brings its own: a browser must not guess another type, and no cache may keep
#: what a key protects.
DEFAULT_HEADERS: Mapping[str, str] = {"x-content-type-options": "nosniff", "cache-control": "no-store"}


class Refused(BackburnerError):
    """The HTTP edge answers with this status instead of passing the request on.

    `headers` are added to the answer, for example `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})


@attrs.frozen(kw_only=True)
class Problem:
    """Everything that an error answer can say; surfaces for other clients say it in their way."""

    status: int
    code: str
    message: str
    request_id: str
    param: str | None = None
    details: Sequence[dict[str, Any]] | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)


def error_type(status: int) -> str:
    """The `type` of an error answer; every status of 400 and more has one."""
    if status in _TYPES:
        return _TYPES[status]
    return "invalid_request_error" if status < 500 else "api_error"


def render(
    status: int,
    code: str,
    message: str,
    *,
    request_id: str,
    param: str | None = None,
    details: Sequence[dict[str, Any]] | None = None,
) -> bytes:
    """The body of an error answer. `param` and `details` are left out when there are none."""
    error: dict[str, Any] = {"type": error_type(status), "code": code, "message": sendable(message)}
    if param is not None:
        error["param"] = sendable(param)
    if details is not None:
        error["details"] = details
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


def sendable(text: str) -> str:
    """The text as UTF-8 can carry it."""
    # A name taken from the request may hold half of a surrogate pair, which no UTF-8 text can.
    return text.encode("utf-8", "replace").decode()
