"""Faults of the connection: before, instead of, or in the middle of an answer."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator
from math import inf

import attrs

from backburner.providers.sandbox.wire import JSON, ApiError, Break, Pause, Piece, Response

#: The request is not carried out, and not answered.
BREAKS: dict[str, Break] = {"refuse": Break.REFUSE, "reset": Break.RESET, "close": Break.CLOSE}
#: The connection is reset while the request's body is read: after half of it, or after as many bytes as the argument
#: says; a body that is not longer than that gets through.
CUT_BODY = "cut_body"

Stream = Callable[[Response, str | None, str], Response]


def _lost(response: Response, _argument: str | None, _request_id: str) -> Response:
    return attrs.evolve(response, before=(*response.before, Break.RESET))


def _later(response: Response, argument: str | None, _request_id: str) -> Response:
    return attrs.evolve(response, before=(*response.before, Pause(float(argument or 30))))


def _never(response: Response, _argument: str | None, _request_id: str) -> Response:
    return attrs.evolve(response, before=(*response.before, Pause(inf)))


def _drip(response: Response, argument: str | None, _request_id: str) -> Response:
    return attrs.evolve(response, pieces=_slowly(response.pieces, int(argument or 1) or 1))


def _slowly(pieces: Iterable[Piece], bytes_per_second: int) -> Iterator[Piece]:
    for piece in pieces:
        if not isinstance(piece, bytes):
            yield piece
            continue
        for start in range(0, len(piece), bytes_per_second):
            yield piece[start : start + bytes_per_second]
            yield Pause(1)


def _half(response: Response, then: Pause | Break) -> Response:
    def pieces() -> Iterator[Piece]:
        for piece in response.pieces:
            if isinstance(piece, bytes):
                yield piece[: len(piece) // 2]
                yield then
                return
            yield piece

    return attrs.evolve(response, pieces=pieces())


def _replaced(status: int, body: bytes, content_type: str) -> Stream:
    def stream(_response: Response, _argument: str | None, _request_id: str) -> Response:
        return Response.whole(status, body, ("content-type", content_type))

    return stream


def _answered(status: int, kind: str, message: str) -> Stream:
    def stream(_response: Response, _argument: str | None, request_id: str) -> Response:
        return ApiError(status, kind, message).response(request_id)

    return stream


def _truncated_json(response: Response, _argument: str | None, _request_id: str) -> Response:
    body = _read(response)
    return Response.whole(response.status, body[: len(body) // 2], JSON)


def _latin1(response: Response, _argument: str | None, _request_id: str) -> Response:
    """Each batch has a member more, which is not UTF-8."""
    body = _read(response).replace(b'{"id":', b'{"note":"caf\xe9","id":')
    return Response.whole(response.status, body, JSON)


def _broken_gzip(response: Response, _argument: str | None, _request_id: str) -> Response:
    packed = gzip.compress(_read(response), mtime=0)
    return Response.whole(response.status, packed[: len(packed) // 2], *response.headers, ("content-encoding", "gzip"))


def _read(response: Response) -> bytes:
    return b"".join(piece for piece in response.pieces if isinstance(piece, bytes))


#: The request is carried out; its answer is changed.
STREAMS: dict[str, Stream] = {
    "lost_response": _lost,
    "lost_500": _answered(500, "api_error", "Internal server error"),
    "lost_504": _answered(504, "timeout_error", "The request timed out."),
    "slow_headers": _later,
    "stall": _never,
    "drip": _drip,
    "stall_body": lambda response, _argument, _request_id: _half(response, Pause(inf)),
    "reset_body": lambda response, _argument, _request_id: _half(response, Break.RESET),
    "html_200": _replaced(200, b"<html><body>Welcome</body></html>\n", "text/html"),
    "empty_200": _replaced(200, b"", "application/json"),
    "truncated_json": _truncated_json,
    "latin1": _latin1,
    "broken_gzip": _broken_gzip,
}
