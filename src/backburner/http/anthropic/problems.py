"""Errors as Anthropic's clients expect them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from quart import Response

from backburner.http.problem import Problem, sendable

_STATUS: Mapping[int, int] = {415: 400, 422: 400, 503: 529}
_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
#: Conflicts that pass. Clients repeat every 409, so a state that stays is answered with 400.
_PASSING = frozenset({"idempotency_key_in_use", "idempotency_key_lost", "upload_expired"})
_REPEATABLE = frozenset({408, 409, 429})
_LONGEST_WAIT = 60  # seconds that a client may be sent away for; it believes any number


def problem_response(problem: Problem) -> Response:
    """The answer. What repeating cannot mend says so in `x-should-retry`."""
    status = 400 if problem.status == 409 and problem.code not in _PASSING else problem.status
    status = _STATUS.get(status, status)
    error = {"type": _TYPES.get(status, "invalid_request_error"), "message": sendable(problem.message)}
    body = msgspec.json.encode({"type": "error", "error": error, "request_id": problem.request_id})
    response = Response(body, status, content_type="application/json")
    response.headers.update(dict(problem.headers))
    if "Retry-After" in response.headers:
        response.headers["Retry-After"] = _bounded(response.headers["Retry-After"])
    if status < 500 and status not in _REPEATABLE:
        response.headers["x-should-retry"] = "false"
    return response


def _bounded(seconds: str) -> str:
    return str(max(1, min(int(seconds), _LONGEST_WAIT))) if seconds.isdigit() else str(_LONGEST_WAIT)
