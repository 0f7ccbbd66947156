"""Which endpoint a request is for, and whether it may be used at all."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from backburner.providers.sandbox.batches import DEFAULT_WORKSPACE
from backburner.providers.sandbox.wire import ApiError, Request, invalid

VERSIONS = ("2026-10-21", "2023-06-01")
_PATH = re.compile(r"(?P<prefix>.*)/v1/messages/batches(?:/(?P<batch>[^/]+)(?:/(?P<verb>cancel|results))?)?/?")
_ENDPOINTS = {
    ("POST", False, None): "create",
    ("GET", False, None): "list",
    ("GET", True, None): "retrieve",
    ("DELETE", True, None): "delete",
    ("POST", True, "cancel"): "cancel",
    ("GET", True, "results"): "results",
}


@attrs.frozen
class Route:
    """`endpoint` is `unknown` for what the service does not have; `status` is the answer to that."""

    endpoint: str
    batch_id: str = ""
    prefix: str = ""
    status: int = 200


@attrs.frozen(kw_only=True)
class Caller:
    """What the headers of a request say of its batch."""

    version: str
    betas: frozenset[str]
    workspace: str


def workspace_of(headers: Mapping[str, str]) -> str:
    return headers.get("anthropic-workspace-id") or DEFAULT_WORKSPACE


def route(method: str, path: str) -> Route:
    match = _PATH.fullmatch(path)
    if match is None:
        return Route("unknown", status=404)
    endpoint = _ENDPOINTS.get((method, match["batch"] is not None, match["verb"]))
    if endpoint is None:
        return Route("unknown", status=405)
    return Route(endpoint, match["batch"] or "", match["prefix"])


def authorize(request: Request, api_key: str | None) -> Caller:
    """Check what every request must bring. Raises ApiError."""
    bearer = request.headers.get("authorization", "")
    key = bearer.removeprefix("Bearer ").strip() or request.headers.get("x-api-key", "")
    if not key:
        raise ApiError(401, "authentication_error", "x-api-key header is required")
    if api_key is not None and key != api_key:
        raise ApiError(401, "authentication_error", "invalid x-api-key")
    version = request.headers.get("anthropic-version")
    if version is None:
        raise invalid("anthropic-version: header is required")
    if version not in VERSIONS:
        raise invalid(f'anthropic-version: "{version}" is not a valid version')
    betas = frozenset(name.strip() for name in request.headers.get("anthropic-beta", "").split(","))
    return Caller(version=version, betas=betas, workspace=workspace_of(request.headers))


def check_body(request: Request) -> None:
    """A body must be plain JSON by its headers. Raises ApiError."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise invalid("This content-encoding is not supported", error_code="request_body_encoding_unsupported")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise invalid("content-type: must be application/json")
