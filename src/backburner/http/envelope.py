"""The application that routes are put on, and its one shape of error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import structlog
from quart import Response, current_app, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from backburner.errors import (
    BackburnerError,
    Conflict,
    Invalid,
    Malformed,
    NotFound,
    QuotaExceeded,
    StorageUnusable,
    TooLarge,
    TransientError,
)
from backburner.http.flow import BodyPace, FlowConnection, FlowRequest
from backburner.http.gate import ANSWER_HEADERS, REQUEST_ID, Gate
from backburner.http.problem import Problem, Refused, render
from backburner.ids import Ids

RETRY_AFTER_SECONDS = 2
#: Literal segments that stand where another route has a variable one. Without this list such a path would answer to the
#: methods of the other route, too.
ROUTE_WORDS = ("active", "unresolved")

_STATUS: Mapping[type[Exception], int] = {
    NotFound: 404,
    Conflict: 409,
    Malformed: 400,
    Invalid: 422,
    QuotaExceeded: 429,
    TooLarge: 413,
    TransientError: 503,
    StorageUnusable: 503,
    Exception: 500,
}
_CODE: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    429: "rate_limited",
    431: "headers_too_large",
    500: "internal_error",
    503: "unavailable",
}
# Werkzeug's own words describe files and forms.
_MESSAGE: Mapping[int, str] = {
    404: "There is no such route.",
    405: "This route does not answer to that method.",
    413: "The body is too large.",
}

logger = structlog.get_logger()


class _ObjectId(BaseConverter):
    """A variable segment of a path. A word that is a route of its own in some place is no id."""

    part_isolating = True
    regex = rf"(?!(?:{'|'.join(ROUTE_WORDS)})\Z)[^/]+"


class EdgeApp(QuartTrio):
    """Quart with our requests, which bound and time their bodies themselves."""

    asgi_http_class = FlowConnection
    request_class = FlowRequest

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        #: How errors are told below certain paths, which other clients than ours ask for.
        self.surfaces: dict[str, Callable[[Problem], Response]] = {}
        #: How slowly clients may send bodies.
        self.body_pace = BodyPace()


def make_app(new_request_id: Callable[[], str]) -> EdgeApp:
    """An application without routes that answers JSON to everything, with a `request-id`."""
    here = str(Path(__file__).parent)  # said, because a single executable has no files for Quart to find it by
    app = EdgeApp("backburner", static_folder=None, root_path=here, instance_path=here)
    app.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
    # A redirect to the tidier path would be an HTML page, and would lose the body of a POST.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["default"] = _ObjectId
    app.asgi_app = Gate(app.asgi_app, new_request_id)  # type: ignore[method-assign]
    install_errors(app)
    return app


def request_ids(ids: Ids) -> Callable[[], str]:
    """Makes `req_…`, time-ordered."""
    return lambda: f"req_{ids.uuid7().hex}"


def current_request_id() -> str:
    """The id of the request being handled; empty outside the gate."""
    return str(cast("dict[str, Any]", request.scope).get(REQUEST_ID, ""))


def add_headers(headers: Mapping[str, str]) -> None:
    """Have the answer to the request being handled carry these too, whatever it becomes."""
    kept = cast("dict[str, Any]", request.scope).get(ANSWER_HEADERS, [])
    kept += [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def problem(
    status: int,
    code: str,
    message: str,
    param: str | None = None,
    details: Sequence[dict[str, Any]] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error answer. 429 and 503 get a `Retry-After` unless `headers` bring one."""
    headers = dict(headers or {})
    if status in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    problem = Problem(
        status=status,
        code=code,
        message=message,
        request_id=current_request_id(),
        param=param,
        details=details,
        headers=headers,
    )
    return _telling(request.path)(problem)


def _telling(path: str) -> Callable[[Problem], Response]:
    surfaces = cast("EdgeApp", current_app).surfaces
    return next((tell for start, tell in surfaces.items() if path.startswith(start)), _told)


def _told(problem: Problem) -> Response:
    body = render(
        problem.status,
        problem.code,
        problem.message,
        request_id=problem.request_id,
        param=problem.param,
        details=problem.details,
    )
    response = Response(body, problem.status, content_type="application/json")
    response.headers.update(dict(problem.headers))
    return response


def install_errors(app: QuartTrio) -> None:
    """Every error of a route, and of looking for one, becomes an error answer."""
    app.register_error_handler(HTTPException, _at_once(_http_problem))
    app.register_error_handler(Refused, _at_once(_refused_problem))
    app.register_error_handler(Exception, _at_once(error_problem))


def _at_once(tell: Callable[[Any], Response]) -> Callable[[Any], Awaitable[Response]]:
    # A plain function would be called in a worker thread.
    async def handle(error: Any) -> Response:
        return tell(error)

    return handle


def status_of(error: Exception) -> int:
    """The status of the nearest ancestor that has one."""
    return next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)


def error_problem(error: Exception) -> Response:
    """The answer to any error. One that is no domain error, or a 500, is logged and not described."""
    status = status_of(error)
    if status == 500 or not isinstance(error, BackburnerError):
        logger.error("request_failed", request_id=current_request_id(), path=request.path, exc_info=error)
        return problem(500, "internal_error", "Something went wrong here; it was logged under this request id.")
    code = getattr(error, "code", None) if status < 500 else None
    return problem(
        status,
        code or _CODE[status],
        str(error) if status < 500 else "Not now; try again later.",
        getattr(error, "param", None),
        getattr(error, "details", None),
        headers=_retry_after(error),
    )


def _retry_after(error: Exception) -> dict[str, str]:
    seconds = getattr(error, "retry_after", None)
    return {} if seconds is None else {"Retry-After": str(max(1, round(seconds)))}


def _refused_problem(error: Refused) -> Response:
    return problem(error.status, error.code, str(error), error.param, headers=error.headers)


def _http_problem(error: HTTPException) -> Response:
    status = error.code or 500
    if status == 500:
        original = getattr(error, "original_exception", None) or error
        logger.error("request_failed", request_id=current_request_id(), path=request.path, exc_info=original)
    message = _MESSAGE.get(status) or error.description or HTTPStatus(status).phrase
    kept = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    return problem(status, _CODE.get(status, "bad_request"), message, headers=kept)
