"""The same as `connection`, for Trio and asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

import anyio
import anyio.to_thread
import attrs
import httpx2

from backburner.client.asks import Ask
from backburner.client.errors import ServerUnreachable
from backburner.client.options import Options
from backburner.client.retrying import reason

T = TypeVar("T")

_CLOSE_SECONDS = 2.0


@attrs.frozen
class AsyncConnection:
    """For any number of tasks."""

    options: Options
    http: httpx2.AsyncClient
    sleep: Callable[[float], Awaitable[None]]

    async def call(self, ask: Ask[T]) -> T:
        """The value that the server answers. Raises ApiError or ServerUnreachable."""
        async with self.stream(ask) as response:
            return ask.answer(await response.aread())

    @asynccontextmanager
    async def stream(self, ask: Ask[Any]) -> AsyncIterator[httpx2.Response]:
        """A successful answer whose body is not read yet. Raises ApiError or ServerUnreachable."""
        response = await self._send(ask)
        try:
            yield response
        except httpx2.TransportError as error:
            raise self.broke_off(error) from error
        finally:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await response.aclose()

    def broke_off(self, error: httpx2.TransportError | str) -> ServerUnreachable:
        """What to raise when an answer has begun and does not end."""
        why = error if isinstance(error, str) else reason(error)
        return ServerUnreachable(f"The answer of {self.options.url} broke off: {why}.")

    async def _send(self, ask: Ask[Any]) -> httpx2.Response:
        attempts, request = self.options.attempts(ask), self.options.of_request(ask)
        while True:
            content = Pieces(ask.upload.body()) if ask.upload else ask.content()
            try:
                response = await self.http.send(self.http.build_request(content=content, **request), stream=True)
                if response.is_success:
                    return response
                await response.aread()
            except httpx2.TransportError as error:
                wait = attempts.broken(error)
            else:
                wait = attempts.refused(response)
            await self.sleep(wait)


@asynccontextmanager
async def chunks_of(response: httpx2.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    """The decoded bytes of a body as they come; left early, the rest is given up."""
    # An asynchronous generator, which has to be closed where it was used. Closing waits for nothing.
    chunks = response.aiter_bytes()
    try:
        yield chunks
    finally:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await chunks.aclose()


@attrs.frozen
class Pieces:
    """Takes the pieces of a body in a worker thread: reading a file may block, and so may the caller's iterator."""

    pieces: Iterator[bytes]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece: bytes = await anyio.to_thread.run_sync(next, self.pieces, b"")
        if not piece:
            raise StopAsyncIteration
        return piece
