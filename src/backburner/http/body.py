"""Reading request bodies: the right kind, no larger and no slower than allowed."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator
from typing import TypeVar, cast

import attrs
import trio
from quart import Request

from backburner.errors import Malformed
from backburner.http.flow import FlowBody
from backburner.http.problem import Refused
from backburner.http.strict import decode_in_steps
from backburner.steps import patiently
from backburner.streams import PIECE, Gunzip

T = TypeVar("T")

JSON = "application/json"
NDJSON = "application/x-ndjson"
MAX_JSON_BYTES = 1024 * 1024


async def read_json(request: Request, type_: type[T], *, limit: int = MAX_JSON_BYTES) -> T:
    """The body decoded strictly; an empty body counts as `{}`. Raises as `read_body` and `strict.decode` do."""
    return await patiently(decode_in_steps(await read_body(request, limit=limit) or b"{}", type_))


async def read_body(request: Request, *, limit: int = MAX_JSON_BYTES) -> bytes:
    """A whole JSON body; b"" if there is none, then of any type.

    Raises Refused: 413 above `limit` bytes, 415 for another type or any encoding, 408 when it comes too slowly.
    """
    _refuse_coding(request, allowed=())
    if request.content_length:
        media_type(request, (JSON,))
    _refuse_length(request, limit)
    reader = _Reader(cast("FlowBody", request.body), limit)
    whole = bytearray()
    while piece := await reader.next():
        whole += piece
    if whole:
        media_type(request, (JSON,))
    return bytes(whole)


async def read_rest(request: Request, *, limit: int) -> None:
    """Read what is left of a body and keep none of it. Raises Refused (413, 408)."""
    reader = _Reader(cast("FlowBody", request.body), limit)
    while await reader.next():
        pass


def open_body(request: Request, *, limit: int, allowed: Collection[str] = (JSON, NDJSON)) -> BodyStream:
    """A body of up to `limit` bytes, gzip or not, to be read piece by piece. Raises Refused (413, 415) at once."""
    coding = _refuse_coding(request, allowed=("gzip",))
    kind = media_type(request, allowed)
    _refuse_length(request, limit)
    gunzip = Gunzip() if coding == "gzip" else None
    reader = _Reader(cast("FlowBody", request.body), limit)
    return BodyStream(media_type=kind, reader=reader, limit=limit, gunzip=gunzip)


def media_type(request: Request, allowed: Collection[str]) -> str:
    """The body's media type, one of `allowed`, in UTF-8. Raises Refused (415)."""
    charset = request.mimetype_params.get("charset", "utf-8").strip('"').lower()
    if request.mimetype not in allowed or charset not in ("utf-8", "utf8"):
        expected = " or ".join(allowed)
        raise Refused(415, "unsupported_media_type", f"The Content-Type must be {expected}, in UTF-8.")
    return request.mimetype


def _refuse_coding(request: Request, *, allowed: Collection[str]) -> str:
    coding = request.headers.get("Content-Encoding", "").strip().lower() or "identity"
    if coding != "identity" and coding not in allowed:
        raise Refused(415, "unsupported_encoding", f"The Content-Encoding {coding!r} is not accepted here.")
    return coding


def _refuse_length(request: Request, limit: int) -> None:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> Refused:
    return Refused(413, "request_too_large", f"The body is larger than {limit} bytes.")


@attrs.define
class _Reader:
    """Counts what arrives, and the time spent waiting for the client."""

    body: FlowBody
    limit: int
    received: int = 0
    waited: float = 0.0

    async def next(self) -> bytes:
        before, pace = trio.current_time(), self.body.pace
        left = pace.stall + self.received / pace.bytes_per_second - self.waited
        # The time may be over already: a machine that stands still counts too.
        with trio.move_on_after(max(0.0, min(pace.stall, left))) as scope:
            data = await self.body.take()
        if scope.cancelled_caught:
            raise Refused(408, "request_timeout", "The body came too slowly.", headers={"Connection": "close"})
        self.waited += trio.current_time() - before
        self.received += len(data)
        if self.received > self.limit:
            raise _too_large(self.limit)
        return data


@attrs.define(kw_only=True)
class BodyStream:
    """A body under way."""

    media_type: str
    reader: _Reader
    limit: int
    gunzip: Gunzip | None
    _pieces: Iterator[bytes] = attrs.field(factory=lambda: iter(()), init=False)
    _decoded: int = attrs.field(default=0, init=False)  # bytes

    async def next(self) -> bytes:
        """The next piece, decoded, at most 64 KiB; b"" at the end.

        Raises Refused: 413 above the limit, before or after decoding; 408 when it comes too slowly.
        Raises Malformed when it is not the gzip that was announced.
        """
        while True:
            while (piece := self._next_piece()) is not None:
                await trio.lowlevel.checkpoint()  # also after work that came to nothing
                if piece:
                    return piece
            data = await self.reader.next()
            if not data:
                self._finish()
                return b""
            self._pieces = _cut(data) if self.gunzip is None else self.gunzip.feed(data)

    def _next_piece(self) -> bytes | None:
        try:
            piece = next(self._pieces, None)
        except zlib.error as error:
            raise Malformed(f"The body is not valid gzip: {error}.", code="invalid_encoding") from None
        self._decoded += len(piece or b"")
        if self._decoded > self.limit:
            raise _too_large(self.limit)
        return piece

    def _finish(self) -> None:
        try:
            if self.gunzip is not None:
                self.gunzip.finish()
        except EOFError:
            raise Malformed("The gzip body ends too early.", code="invalid_encoding") from None


def _cut(data: bytes) -> Iterator[bytes]:
    for begin in range(0, len(data), PIECE):
        yield data[begin : begin + PIECE]
