"""The same methods as `Client`, for Trio and asyncio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.from_thread
import httpx2

from backburner.client import asks
from backburner.client.asks import Until
from backburner.client.async_connection import AsyncConnection
from backburner.client.async_methods import AsyncMethods
from backburner.client.async_streams import AsyncEvents, AsyncResults, Rows, settled
from backburner.client.client import NOT_SUCCEEDED
from backburner.client.errors import ServerUnreachable
from backburner.client.options import Options, known_server
from backburner.client.results import Delivery, Item, Job
from backburner.client.retrying import Retries
from backburner.client.sse import Reader
from backburner.client.uploads import Form, Source, upload
from backburner.client.waiting import PAUSE, TRY_EVERY, Download, Following, Waiting

#: May be an async iterable too.
AsyncSource = Source | AsyncIterable[Mapping[str, Any]]


class AsyncClient(AsyncMethods):
    """One server and one key, for any number of tasks. What is said of `Client` holds here too."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        profile: str | None = None,
        timeout: float = 30.0,
        retries: Retries | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        url, key = known_server(url, key, profile)
        self._options = Options(url=url, key=key, timeout=timeout, retries=retries or Retries(), **options)
        http = httpx2.AsyncClient(transport=transport, **self._options.of_http())
        self._connection = AsyncConnection(self._options, http, sleep)
        self._monotonic = monotonic

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._connection.http.aclose()

    @property
    def url(self) -> str:
        return self._options.url

    # --- batches ---------------------------------------------------------------------------------------------

    async def submit(
        self, source: AsyncSource, *, form: Form | None = None, idempotency_key: str | None = None, **options: Any
    ) -> Job:
        """As `Client.submit`. Iterators and files are read in a worker thread, async iterables where they belong."""
        with upload(_bridged(source), options, form=form) as made:
            return await self._call(asks.submit(made, idempotency_key))

    async def check(self, source: AsyncSource, *, form: Form | None = None, **options: Any) -> dict[str, Any]:
        with upload(_bridged(source), {**options, "dry_run": True}, form=form) as made:
            return await self._call(asks.check(made))

    async def batch(self, job_id: str) -> Job:
        return await self._call(asks.batch(job_id))

    def items(self, job_id: str, **filters: Any) -> Rows[Item]:
        return self._all(asks.items(job_id, filters))

    def results(
        self,
        job_id: str,
        *,
        status: Sequence[str] = (),
        after: str | None = None,
        on_trouble: Callable[[ServerUnreachable], object] = lambda _error: None,
    ) -> AsyncResults:
        """As `Client.results`, but opened by `async with`."""
        download = Download(job_id=job_id, statuses=status, after=after, monotonic=self._monotonic)
        return AsyncResults(self._connection, download, on_trouble)

    async def retry(
        self,
        job_id: str,
        *,
        statuses: Sequence[str] = NOT_SUCCEEDED,
        custom_ids: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> Job:
        return await self._call(asks.retry(job_id, statuses, custom_ids, idempotency_key))

    # --- jobs ------------------------------------------------------------------------------------------------

    async def job(self, job_id: str, *, wait: float = 0.0, until: Until = "changed") -> Job:
        return await self._call(asks.job(job_id, wait, until))

    async def wait(
        self,
        job: Job | str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Job], object] = lambda _job: None,
        on_trouble: Callable[[ServerUnreachable], object] = lambda _error: None,
    ) -> Job:
        """As `Client.wait`; what the callbacks return is awaited if it can be."""
        current = job if isinstance(job, Job) else await self.job(job)
        waiting = Waiting(job_id=current.id, timeout=timeout, monotonic=self._monotonic)
        await settled(on_progress(current))
        while not current.is_terminal:
            await self._connection.sleep(PAUSE)
            current = await self._next(waiting, on_trouble)
            await settled(on_progress(current))
        return current

    async def _next(self, waiting: Waiting, on_trouble: Callable[[ServerUnreachable], object]) -> Job:
        while True:
            try:
                found = await self._call(waiting.ask())
            except ServerUnreachable as error:
                waiting.lost(error)
                await settled(on_trouble(error))
                await self._connection.sleep(TRY_EVERY)
            else:
                waiting.answered()
                return found

    def events(self, job_id: str | None = None, *, last_event_id: str = "") -> AsyncEvents:
        """As `Client.events`, but opened by `async with`."""
        following = Following(job_id=job_id, monotonic=self._monotonic, reader=Reader(last_event_id))
        return AsyncEvents(self._connection, following)

    def jobs(self, **filters: Any) -> Rows[Job]:
        return self._all(asks.jobs(filters))

    async def create_job(self, *, idempotency_key: str | None = None, **fields: Any) -> Job:
        return await self._call(asks.create_job(fields, idempotency_key))

    async def update_job(self, job_id: str, **fields: Any) -> Job:
        return await self._call(asks.update_job(job_id, fields))

    async def cancel(self, job_id: str) -> Job:
        return await self._call(asks.cancel(job_id))

    async def delete(self, job_id: str) -> Job:
        return await self._call(asks.delete(job_id))

    def deliveries(self, job_id: str) -> Rows[Delivery]:
        return self._all(asks.deliveries(job_id))

    async def redeliver(self, job_id: str, delivery_id: str) -> Delivery:
        return await self._call(asks.redeliver(job_id, delivery_id))


def _bridged(source: AsyncSource) -> Source:
    return _driven(source) if isinstance(source, AsyncIterable) else source


def _driven(source: AsyncIterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """An async iterable for the worker thread that reads the body."""
    iterator = source.__aiter__()

    async def following() -> Mapping[str, Any] | None:
        return await anext(iterator, None)

    while (request := anyio.from_thread.run(following)) is not None:
        yield request
