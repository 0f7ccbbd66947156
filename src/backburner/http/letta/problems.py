"""Errors as Letta's clients expect them."""

from __future__ import annotations

import msgspec
from quart import Response

from backburner.http.problem import Problem, sendable


def problem_response(problem: Problem) -> Response:
    """`{"detail": …}`: text, never a list."""
    body = msgspec.json.encode({"detail": sendable(problem.message)})
    response = Response(body, problem.status, content_type="application/json")
    response.headers.update(dict(problem.headers))
    return response
