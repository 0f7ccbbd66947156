"""Faults that are a wrong answer in place of the right one. The request is not carried out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime

from backburner.providers.sandbox.wire import ApiError, Response

_HTML = ("content-type", "text/html; charset=utf-8")
#: Makes the answer from the fault's argument, the time and the id of the request.
Answer = Callable[[str | None, datetime, str], Response]


def _error(status: int, kind: str, message: str, **details: str) -> Answer:
    def answer(_argument: str | None, _now: datetime, request_id: str) -> Response:
        return ApiError(status, kind, message, details=details or None).response(request_id)

    return answer


def _page(status: int, title: str) -> Answer:
    body = f"<html><head><title>{status} {title}</title></head><body><h1>{title}</h1></body></html>\n".encode()

    def answer(_argument: str | None, _now: datetime, _request_id: str) -> Response:
        return Response.whole(status, body, _HTML)

    return answer


def _limited(header: str, default: str) -> Answer:
    def answer(argument: str | None, _now: datetime, request_id: str) -> Response:
        return _rate_limit(request_id, (header, argument or default))

    return answer


def _limited_until(argument: str | None, now: datetime, request_id: str) -> Response:
    until = now + timedelta(seconds=float(argument or 1))
    return _rate_limit(request_id, ("retry-after", format_datetime(until, usegmt=True)))


def _rate_limit(request_id: str, *headers: tuple[str, str]) -> Response:
    message = "This request would exceed the rate limit for your organization."
    return ApiError(429, "rate_limit_error", message, headers=headers).response(request_id)


def _redirect(argument: str | None, _now: datetime, _request_id: str) -> Response:
    return Response.whole(307, b"", ("location", argument or "http://127.0.0.1:9/elsewhere"))


ANSWERS: dict[str, Answer] = {
    "307": _redirect,
    "400": _error(400, "invalid_request_error", "The request asked for this error."),
    "401": _error(401, "authentication_error", "invalid x-api-key"),
    "402": _error(402, "billing_error", "Your credit balance is too low."),
    "403": _error(403, "permission_error", "Your API key may not use this resource."),
    "404": _error(404, "not_found_error", "No message batch with that ID."),
    "408": _error(408, "timeout_error", "Request timed out."),
    "409": _error(409, "conflict_error", "The batch is being changed by another request."),
    "413": _error(413, "request_too_large", "Request exceeds the maximum size of 256 MB"),
    "413_html": _page(413, "Payload Too Large"),
    "429": _limited("retry-after", "1"),
    "429_ms": _limited("retry-after-ms", "1000"),
    "429_date": _limited_until,
    "429_bare": _error(429, "rate_limit_error", "This request would exceed the rate limit for your organization."),
    "spend_cap": _error(
        429,
        "rate_limit_error",
        "The organization has used its monthly allowance.",
        error_code="enforced_spend_limit_reached",
    ),
    "ramp_limit": _error(
        429, "rate_limit_error", "The organization's use grows too fast.", error_code="ramp_limit_exceeded"
    ),
    "500": _error(500, "api_error", "Internal server error"),
    "500_html": _page(500, "Internal Server Error"),
    "502": _page(502, "Bad Gateway"),
    "503": _error(503, "api_error", "Service Unavailable"),
    "504": _error(504, "timeout_error", "The request timed out."),
    "529": _error(529, "overloaded_error", "Overloaded"),
}
