"""What can go wrong between a client and a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import msgspec

from backburner.backoff import retry_after
from backburner.errors import BackburnerError, TransientError

_SHOWN_CHARACTERS = 200


class ClientError(BackburnerError):
    """Every error of the client."""


class ServerUnreachable(ClientError, TransientError):
    """No answer, or one that broke off. Whether the request took effect is not known."""


class WaitTimeout(ClientError):
    """The job has not ended in the time that the caller gave it; it runs on."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"Job {job_id} has not ended in time; it runs on.")
        self.job_id = job_id


class WebhookInvalid(ClientError):
    """Not signed with the secret, too old, or no webhook of this server."""


class ApiError(ClientError):
    """The server answered with an error. `code` is one of the documented codes, `http_<status>` for foreign answers."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        kind: str = "api_error",
        param: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.kind = kind
        self.param = param
        self.details = details
        self.request_id = request_id
        self.retry_after = retry_after  #: seconds after which the same may succeed, if the server has said so


def api_error(response: httpx2.Response) -> ApiError:
    """The error that a response tells of; its body must have been read."""
    request_id, wish = response.headers.get("request-id"), retry_after(response.headers)
    try:
        error = msgspec.json.decode(response.content)["error"]
        return ApiError(
            str(error["message"]),
            status=response.status_code,
            code=str(error.get("code") or error["type"]),
            kind=str(error["type"]),
            param=error.get("param"),
            details=error.get("details") or (),
            request_id=request_id,
            retry_after=wish,
        )
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
        shown = " ".join(response.text.split())[:_SHOWN_CHARACTERS]
        message = f"The server answered {response.status_code} {response.reason_phrase}: {shown or 'nothing'}"
        code = f"http_{response.status_code}"
        return ApiError(message, status=response.status_code, code=code, request_id=request_id, retry_after=wish)
