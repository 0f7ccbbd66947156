"""HTTP calls through the official SDK. The only module that imports it, so import this one lazily (over a second)."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

import anthropic
import attrs
import httpx2
import trio
from anthropic._base_client import get_platform

from backburner.providers.anthropic_errors import Answer, NoAnswer
from backburner.providers.upload import Upload
from backburner.streams import Gunzip

CONNECT_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0
#: A shorter key guards nothing, and its characters stand in ordinary words.
SHORTEST_SECRET = 8
MAX_CONNECTIONS = 1000
MAX_IDLE_CONNECTIONS = 100

#: Whatever reading from a connection may raise that is not an answer.
FOREIGN_ERRORS = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    OSError,
    EOFError,
    zlib.error,
)
#: Raised before the first byte of a request is on its way.
UNSENT_ERRORS = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.InvalidURL,
    httpx2.LocalProtocolError,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


@attrs.frozen(kw_only=True)
class Download:
    """A response whose body is still to be read."""

    answer: Answer  # with a body exactly when it is not a success
    patience: float
    _chunks: AsyncGenerator[bytes, None]
    _gunzip: Gunzip | None

    async def next_chunk(self) -> bytes | None:
        """Some bytes, perhaps none yet; None at the clean end. Raises NoAnswer when the connection breaks or stalls."""
        with _translated(), trio.move_on_after(self.patience):
            return self._decoded(await anext(self._chunks, None))
        raise _stalled(self.patience)

    def _decoded(self, chunk: bytes | None) -> bytes | None:
        if self._gunzip is None:
            return chunk
        if chunk is None:
            self._gunzip.finish()
            return None
        return b"".join(self._gunzip.feed(chunk))


@attrs.frozen(kw_only=True)
class Calls:
    """Sends requests to one base URL with one key, once each.

    Every HTTP status is an Answer; no or only half an answer is NoAnswer. `patience` is in seconds: without progress.
    """

    client: anthropic.AsyncAnthropic
    api_key: str = attrs.field(repr=False)
    patience: float

    async def get(self, path: str, headers: Mapping[str, str], params: Mapping[str, object] | None = None) -> Answer:
        options = _options(headers=headers, params=params)
        return await self._answer(partial(self.client.get, path, cast_to=httpx2.Response, options=options))

    async def post(self, path: str, headers: Mapping[str, str]) -> Answer:
        """POST nothing."""
        options = _options(headers=headers)
        return await self._answer(partial(self.client.post, path, cast_to=httpx2.Response, options=options))

    async def upload(self, path: str, body: Upload, headers: Mapping[str, str]) -> Answer:
        """POST the body. Each piece that the network takes is progress."""
        options = _options(headers={**headers, "content-length": str(body.length)})
        send = partial(self.client.post, path, cast_to=httpx2.Response, content=body, options=options)
        with _translated(), trio.move_on_after(self.patience) as scope:

            def prolong() -> None:
                scope.deadline = trio.current_time() + self.patience

            body.on_progress = prolong
            return self._read(await _any_status(send))
        raise _stalled(self.patience)

    @asynccontextmanager
    async def download(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Download]:
        """GET and read the body piece by piece. Leaving closes the connection."""
        response = await self._open(url, headers)
        gunzip = Gunzip() if response.headers.get("content-encoding", "").lower() == "gzip" else None
        chunks = response.aiter_raw() if gunzip else response.aiter_bytes()
        try:
            yield Download(answer=self._head(response), patience=self.patience, chunks=chunks, gunzip=gunzip)
        finally:
            await _unwind(chunks)  # noqa: ASYNC102  # shielded and cancelled by itself
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await response.aclose()

    async def close(self) -> None:
        """Close all connections, also when cancelled."""
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await self.client.close()

    async def _open(self, url: str, headers: Mapping[str, str]) -> httpx2.Response:
        options = _options(headers={**headers, "accept": "application/binary", "accept-encoding": "gzip"})
        send: partial[Awaitable[httpx2.Response]] = partial(
            self.client.get, url, cast_to=httpx2.Response, stream=True, options=options
        )
        with _translated(), trio.move_on_after(self.patience):
            return await _any_status(send)
        raise _stalled(self.patience)

    async def _answer(self, send: Callable[[], Awaitable[httpx2.Response]]) -> Answer:
        with _translated(), trio.move_on_after(self.patience):
            return self._read(await _any_status(send))
        raise _stalled(self.patience)

    def _head(self, response: httpx2.Response) -> Answer:
        if response.is_success:
            return Answer(status=response.status_code, headers=response.headers, body=b"")
        return self._read(response)

    def _read(self, response: httpx2.Response) -> Answer:
        body = response.content
        if not response.is_success and len(self.api_key) >= SHORTEST_SECRET:
            body = body.replace(self.api_key.encode(), b"[key]")
        return Answer(status=response.status_code, headers=response.headers, body=body)


def make_calls(
    *, api_key: str, base_url: str, patience: float, transport: httpx2.AsyncBaseTransport | None = None
) -> Calls:
    """Calls over one connection pool. Slow, may run in a thread. Raises ValueError for an unusable key or URL."""
    key = api_key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ValueError("The API key is empty or holds characters that no HTTP header can carry.")
    url = _checked(base_url)
    if transport is None and _is_loopback(url):
        transport = _direct_transport()
    chosen: dict[str, Any] = {} if transport is None else {"transport": transport}
    timeout = httpx2.Timeout(patience, connect=min(CONNECT_TIMEOUT, patience))
    http_client = anthropic.DefaultAsyncHttpxClient(follow_redirects=False, timeout=timeout, **chosen)
    client = anthropic.AsyncAnthropic(
        api_key=key, base_url=url, max_retries=0, timeout=timeout, http_client=http_client
    )
    # Left alone, the SDK finds this out in a worker thread during its first request, and a clock test's time
    # would jump meanwhile.
    client._platform = get_platform()  # noqa: SLF001
    return Calls(client=client, api_key=key, patience=patience)


def _checked(base_url: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"The base URL cannot be read: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("The base URL must begin with http:// or https:// and name a host.")
    return url


def _is_loopback(url: httpx2.URL) -> bool:
    return url.host in {"localhost", "::1"} or url.host.startswith("127.")


def _direct_transport() -> httpx2.AsyncBaseTransport:
    """One that the environment's proxies do not apply to: they cannot reach this machine's loopback address."""
    limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_IDLE_CONNECTIONS)
    return httpx2.AsyncHTTPTransport(limits=limits, trust_env=False)


def _options(*, headers: Mapping[str, str], params: Mapping[str, object] | None = None) -> Any:
    return {"max_retries": 0, "follow_redirects": False, "headers": headers, "params": params or {}}


async def _unwind(chunks: AsyncGenerator[bytes, None]) -> None:
    """End a stream that was not read to its end.

    Closing the outermost generator would leave those beneath it to the garbage collector; a cancellation that
    comes up from the socket ends them all.
    """
    with trio.CancelScope(shield=True) as scope, suppress(*FOREIGN_ERRORS):
        scope.cancel()
        async for _ in chunks:
            pass


async def _any_status(send: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    try:
        return await send()
    except anthropic.APIStatusError as error:
        return error.response


@contextmanager
def _translated() -> Iterator[None]:
    """Turn everything that is not an answer into NoAnswer."""
    try:
        yield
    except anthropic.APIConnectionError as error:
        raise _no_answer(error.__cause__ or error) from error
    except FOREIGN_ERRORS as error:
        raise _no_answer(error) from error


def _no_answer(cause: BaseException) -> NoAnswer:
    # A protocol error of our own making quotes the header that caused it.
    text = "" if isinstance(cause, httpx2.LocalProtocolError) else str(cause)
    return NoAnswer(
        f"{type(cause).__name__}{f': {text}' if text else ''}",
        unsent=isinstance(cause, UNSENT_ERRORS),
        timed_out=isinstance(cause, httpx2.TimeoutException),
    )


def _stalled(patience: float) -> NoAnswer:
    return NoAnswer(f"no progress in {patience:g} seconds", timed_out=True)
