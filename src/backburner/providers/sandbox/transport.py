"""The sandbox reached without a socket: an httpx2 transport, for virtual time and for speed.

Connections do not exist here, but where one would break, the client gets the error that it would get.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import httpx2
import trio

from backburner.providers.sandbox.engine import Admission, Sandbox
from backburner.providers.sandbox.wire import Break, Pause, Piece, Request


class SandboxTransport(httpx2.AsyncBaseTransport):
    """For `httpx2.AsyncClient(transport=…)`. The client's read timeout holds, in Trio's time."""

    def __init__(self, engine: Sandbox) -> None:
        self._engine = engine

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        admission = self._engine.admit(request.method, request.url.path, headers)
        if admission.refused:
            raise httpx2.ConnectError("All connection attempts failed", request=request)
        received = _received(request, headers, await _read_body(request, admission))
        patience = _read_timeout(request)
        with trio.move_on_after(patience):
            response = await self._engine.respond(received, admission)
            for event in response.before:
                await _suffer(event, request)
            return httpx2.Response(
                response.status,
                headers=[*response.headers, response.framing],
                stream=_Stream(iter(response.pieces), request, patience),
                request=request,
            )
        raise httpx2.ReadTimeout("", request=request)


class _Stream(httpx2.AsyncByteStream):
    """A body under way."""

    def __init__(self, pieces: Iterator[Piece], request: httpx2.Request, patience: float) -> None:
        self._pieces = pieces
        self._request = request
        self._patience = patience

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with trio.move_on_after(self._patience):
            await trio.lowlevel.checkpoint()
            return await self._next()
        raise httpx2.ReadTimeout("", request=self._request)

    async def _next(self) -> bytes:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                return piece
            await _suffer(piece, self._request)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._pieces = iter(())


async def _suffer(event: Pause | Break, request: httpx2.Request) -> None:
    if isinstance(event, Pause):
        await trio.sleep(event.seconds)
    elif event is Break.RESET:
        raise httpx2.ReadError("[Errno 104] Connection reset by peer", request=request)
    else:
        raise httpx2.RemoteProtocolError(
            "peer closed connection without sending complete message body", request=request
        )


async def _read_body(request: httpx2.Request, admission: Admission) -> bytes:
    """The body, taken piece by piece as from a socket. Raises WriteError where the connection is to break."""
    length = request.headers.get("content-length")
    cut_after = admission.cut_after(None if length is None else int(length))
    body = bytearray()
    async with pieces_of(request) as pieces:
        async for piece in pieces:
            await trio.lowlevel.checkpoint()
            body += piece
            if cut_after is not None and len(body) >= cut_after:
                raise httpx2.WriteError("[Errno 104] Connection reset by peer", request=request)
    return bytes(body)


@asynccontextmanager
async def pieces_of(request: httpx2.Request) -> AsyncIterator[AsyncIterator[bytes]]:
    """The pieces of a request's body. Whoever stops early leaves no generator behind for the garbage collector."""
    assert isinstance(request.stream, httpx2.AsyncByteStream)  # noqa: S101  # an asynchronous client's always is
    pieces = aiter(request.stream)
    try:
        yield pieces
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


def _received(request: httpx2.Request, headers: Mapping[str, str], body: bytes) -> Request:
    url = request.url
    return Request(
        method=request.method,
        origin=f"{url.scheme}://{url.netloc.decode()}",
        path=url.path,
        query=dict(url.params),
        headers=headers,
        body=body,
    )


def _read_timeout(request: httpx2.Request) -> float:
    timeout = request.extensions.get("timeout", {}).get("read")
    return float("inf") if timeout is None else float(timeout)
