"""What goes in and out of the sandbox, whichever way it is reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import attrs
import msgspec

JSON = ("content-type", "application/json")


@attrs.frozen(kw_only=True)
class Request:
    """One HTTP request, read whole. Header names are lower case."""

    method: str
    origin: str  # scheme and authority as the client named them
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes | bytearray = b""


class Break(Enum):
    """The connection ends here."""

    REFUSE = "refuse"  # before the request was read
    RESET = "reset"
    CLOSE = "close"  # an orderly end of the connection in a place where none may be


@attrs.frozen
class Pause:
    """Nothing is sent for so long."""

    seconds: float


#: What a body consists of, in order.
Piece = bytes | Pause | Break


@attrs.frozen(kw_only=True)
class Response:
    """An answer. `pieces` can be read once; without `length` it is sent in chunks."""

    status: int
    headers: tuple[tuple[str, str], ...]
    pieces: Iterable[Piece]
    length: int | None = None
    before: tuple[Pause | Break, ...] = ()  # happens before the head is sent

    @property
    def framing(self) -> tuple[str, str]:
        if self.length is None:
            return ("transfer-encoding", "chunked")
        return ("content-length", str(self.length))

    @classmethod
    def whole(cls, status: int, body: bytes, *headers: tuple[str, str]) -> Response:
        return cls(status=status, headers=headers, pieces=(body,), length=len(body))


class ApiError(Exception):
    """Answered with `status` and Anthropic's error envelope."""

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.details = details
        self.headers = headers

    def response(self, request_id: str) -> Response:
        error: dict[str, Any] = {"type": self.kind, "message": str(self)}
        if self.details is not None:
            error["details"] = self.details
        envelope = {"type": "error", "error": error, "request_id": request_id}
        return Response.whole(self.status, msgspec.json.encode(envelope), JSON, *self.headers)


def invalid(message: str, **details: Any) -> ApiError:
    return ApiError(400, "invalid_request_error", message, details=details or None)


def not_found(message: str) -> ApiError:
    return ApiError(404, "not_found_error", message)
