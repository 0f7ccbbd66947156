"""What the asynchronous client lets its caller iterate over."""

from __future__ import annotations

import inspect
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
from backburner.client.waiting import TRY_EVERY, Download, Following, results_in

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
    """A download under way: iterate over it, or save it. Memory does not grow. Used inside `async with`."""

    incomplete: bool = attrs.field(default=False, init=False)  #: the job was still running when it began
    _connection: AsyncConnection
    _download: Download
    _on_trouble: Callable[[ServerUnreachable], object]
    _ready: deque[Result] = attrs.field(factory=deque, init=False)
    _open: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)
    _chunks: AsyncIterator[bytes] | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> Self:
        self.incomplete = (await self._begin()).headers.get("x-incomplete") == "true"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        while not self._ready:
            lines = await self._more()
            if not lines:
                raise StopAsyncIteration
            self._ready.extend(results_in(lines))
        return self._ready.popleft()

    async def save(self, target: IO[bytes]) -> int:
        """Write every line to `target`; the number of bytes. Raises ServerUnreachable."""
        size = 0
        while lines := await self._more():
            target.write(lines)
            size += len(lines)
        return size

    async def _more(self) -> bytes:
        """The next whole lines; none at the end."""
        while True:
            try:
                if self._chunks is None:
                    await self._begin()
                elif (data := await anext(self._chunks, None)) is None:
                    if not self._download.is_cut:
                        return b""
                    await self._lost(self._connection.broke_off("it ended in the middle of a line"))
                elif lines := self._download.feed(data):
                    return lines
            except httpx2.TransportError as error:
                await self._lost(self._connection.broke_off(error))
            except ServerUnreachable as error:
                await self._lost(error)

    async def _begin(self) -> httpx2.Response:
        response = await self._open.enter_async_context(self._connection.stream(self._download.ask()))
        self._chunks = await self._open.enter_async_context(chunks_of(response))
        return response

    async def _lost(self, error: ServerUnreachable) -> None:
        self._chunks = None
        self._download.lost(error)
        await settled(self._on_trouble(error))
        await self._open.aclose()
        self._open = AsyncExitStack()
        await self._connection.sleep(TRY_EVERY)


async def settled(outcome: object) -> None:
    """What a callback has returned, awaited if it can be."""
    if inspect.isawaitable(outcome):
        await outcome


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
