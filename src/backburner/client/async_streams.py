"""What the asynchronous client lets its caller iterate over."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import IO, Generic, Self, TypeVar

import attrs
import httpx2

from backburner.client.asks import Ask, Page
from backburner.client.async_connection import AsyncConnection, chunks_of
from backburner.client.errors import ServerUnreachable
from backburner.client.results import Event, Result
from backburner.client.waiting import TRY_EVERY, Following, ResultLines

T = TypeVar("T")


@attrs.define(eq=False)
class Rows(Generic[T]):
    """A list, fetched page by page as it is iterated over."""

    _call: Callable[[Ask[Page[T]]], Awaitable[Page[T]]]
    _ask: Ask[Page[T]] | None
    _ready: deque[T] = attrs.field(factory=deque, init=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._ready:
            if self._ask is None:
                raise StopAsyncIteration
            page = await self._call(self._ask)
            self._ready.extend(page.rows)
            self._ask = page.following
        return self._ready.popleft()


@attrs.define(eq=False)
class AsyncResults:
    """A download under way: iterate over it, or save it. Memory does not grow."""

    incomplete: bool  #: the job was still running when it began
    _chunks: AsyncIterator[bytes]
    _lines: ResultLines = attrs.field(factory=ResultLines, init=False)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        while not self._lines.ready:
            self._lines.feed(await anext(self._chunks))
        return self._lines.ready.popleft()

    async def save(self, target: IO[bytes]) -> int:
        """Write every line to `target`; the number of bytes. Raises ServerUnreachable."""
        size = 0
        async for chunk in self._chunks:
            target.write(chunk)
            size += len(chunk)
        return size


@attrs.define(eq=False)
class AsyncEvents:
    """Live events; reconnects by itself. Used with `async with`, then iterated over."""

    _connection: AsyncConnection
    _following: Following
    _ready: deque[Event] = attrs.field(factory=deque, init=False)
    _open: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)
    _chunks: AsyncIterator[bytes] | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if self._following.is_over and self._chunks is None:
                raise StopAsyncIteration
            try:
                self._ready.extend(await self._more())
            except (ServerUnreachable, httpx2.TransportError) as error:
                await self._lost(error)
        return self._ready.popleft()

    async def _more(self) -> list[Event]:
        if self._chunks is None:
            response = await self._open.enter_async_context(self._connection.stream(self._following.ask()))
            self._following.answered(response.status_code)
            self._chunks = await self._open.enter_async_context(chunks_of(response))
        data = await anext(self._chunks, None)
        if data is not None:
            return self._following.take(data)
        await self._lost(None)
        return []

    async def _lost(self, error: Exception | None) -> None:
        self._chunks = None
        await self._open.aclose()
        self._open = AsyncExitStack()
        if self._following.is_over:
            return
        if isinstance(error, ServerUnreachable):
            self._following.lost(error)
        await self._connection.sleep(TRY_EVERY)
