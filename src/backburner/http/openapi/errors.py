"""The error answers that a route can give because of what kind of route it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backburner.http.openapi.operation import Operation, Route
from backburner.http.problem import error_type

WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})

#: What each status means, and an example's code and message.
MEANINGS: Mapping[int, tuple[str, str, str]] = {
    400: ("The request cannot be read.", "invalid_json", "The body is not valid JSON: line 1, column 2."),
    401: ("No key, or one that is unknown, expired or revoked.", "unauthenticated", "The API key is unknown."),
    403: ("The key may not do this.", "forbidden", "This key does not have the scope 'write'."),
    404: ("There is no such object in the key's organization.", "not_found", "No job with id 'job-…'."),
    408: ("The body came too slowly.", "request_timeout", "The body came too slowly."),
    409: ("The object's state does not allow this.", "job_terminal", "The job is already completed."),
    412: ("The object has changed.", "precondition_failed", "The job has changed: its ETag is not the one given."),
    413: ("The body is too large.", "request_too_large", "The body is larger than 1048576 bytes."),
    414: ("The request target is too long.", "uri_too_long", "The request target is longer than 8192 bytes."),
    415: ("The body is of another type.", "unsupported_media_type", "The Content-Type must be application/json."),
    422: ("The request says something that cannot be.", "unknown_field", "There is no field 'colour' here."),
    429: ("Too much at once; `Retry-After` says when to try again.", "rate_limited", "Too many requests."),
    431: ("The headers are too large.", "headers_too_large", "There are more than 100 headers."),
    500: ("A bug here, logged under the request id.", "internal_error", "Something went wrong here."),
    503: ("Not now; `Retry-After` says when to try again.", "unavailable", "Not now; try again later."),
}

_IDEMPOTENCY = "A request with this `Idempotency-Key` is still running."


def error_answers(route: Route, operation: Operation) -> dict[int, str]:
    """The error statuses of this route, and what they mean here; "" where that is what they always mean."""
    found = dict.fromkeys((400, 414, 422, 429, 431, 500, 503), "")
    if route.scope is not None:
        found |= dict.fromkeys((401, 403), "")
    if "<" in route.path:
        found[404] = ""
    if route.method in WITH_BODY:
        found |= dict.fromkeys((408, 413, 415), "")
    if takes_idempotency_key(route):
        found[409] = _IDEMPOTENCY
    for status, meaning in operation.errors.items():
        found[status] = " ".join(filter(None, (meaning, found.get(status))))
    return dict(sorted(found.items()))


def takes_idempotency_key(route: Route) -> bool:
    """Whether a repeat with the same `Idempotency-Key` gets the stored answer."""
    return route.method == "POST" and route.scope is not None


def error_example(status: int) -> dict[str, Any]:
    """An error answer of this status."""
    _, code, message = MEANINGS[status]
    error = {"type": error_type(status), "code": code, "message": message}
    return {"type": "error", "error": error, "request_id": "req_0192aa3bd4c07c5e9f0a1b2c3d4e5f60"}
