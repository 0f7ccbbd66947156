"""Anthropic's Message Batches API as a provider; the sandbox speaks it too."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote

import attrs
import httpx2
import trio

from backburner.errors import BatchNotFound
from backburner.providers.anthropic_errors import (
    Answer,
    NoAnswer,
    batch_error,
    lost_call,
    lost_submission,
    submission_error,
    unreadable_answer,
    unreadable_submission,
)
from backburner.providers.anthropic_listing import BATCHES_PATH, PAGE_SIZE, Pager, cutoff
from backburner.providers.anthropic_objects import Unreadable, parse_batch
from backburner.providers.anthropic_results import DownloadedLines, own_results_url, require_lines
from backburner.providers.base import MEBIBYTE, BatchRef, BatchView, Found, Limits, ResultLines, Sieve, WireRequest
from backburner.providers.upload import PIECE_BYTES, Upload, encode_requests

if TYPE_CHECKING:
    from datetime import datetime

    from backburner.providers.anthropic_calls import Calls

T = TypeVar("T")
#: Sends a request without a body: path and headers.
Send = Callable[[str, Mapping[str, str]], Awaitable[Answer]]

#: The service takes 256 MB and single requests of 32 MB; what comes before it may count otherwise.
LIMITS = Limits(max_items=100_000, max_bytes=200_000_000, max_item_bytes=32 * MEBIBYTE - 64 * 1024)

#: For how long results can be read.
RETENTION = timedelta(days=29)
#: What a submission may say per batch.
FORWARDED_HEADERS = frozenset(
    {"anthropic-version", "anthropic-beta", "anthropic-workspace-id", "anthropic-user-profile-id"}
)
#: What a batch cannot be seen without. The others say how its requests are read and to whom they count: a beta that
#: has ended since must not cost the results.
WORKSPACE_HEADERS = frozenset({"anthropic-workspace-id"})
#: `Date` counts whole seconds, and the clocks of the provider's own machines differ.
CLOCK_MARGIN = 60.0
#: How long one search goes on, in seconds: a listing may have no end. At a page a second it comes past 600,000 batches.
LONGEST_SEARCH = 600.0
#: A search that has found so many goes no further.
MOST_FOUND = 1000
#: Pages that a snapshot reads beyond the least that could hold all wanted batches.
EXTRA_PAGES = 3


class Offload(Protocol):
    """Runs a function where it may take its time, such as `trio.to_thread.run_sync`; a clock test calls it in place."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


@asynccontextmanager
async def open_anthropic(
    *,
    api_key: str,
    base_url: str,
    request_timeout: float,
    transport: httpx2.AsyncBaseTransport | None = None,
    offload: Offload = trio.to_thread.run_sync,
    name: str = "anthropic",
    piece_bytes: int = PIECE_BYTES,
) -> AsyncIterator[AnthropicProvider]:
    """The provider at `base_url`, with one connection pool that is closed on leaving.

    `request_timeout` is how many seconds a call may go without progress: it bounds short calls as a whole, and
    the pause between two pieces of a long body. Raises ValueError for a key or URL that cannot be used.
    """
    calls = await offload(
        partial(_make_calls, api_key=api_key, base_url=base_url, patience=request_timeout, transport=transport)
    )
    try:
        yield AnthropicProvider(
            calls=calls, base_url=httpx2.URL(base_url), offload=offload, name=name, piece_bytes=piece_bytes
        )
    finally:
        await calls.close()  # noqa: ASYNC102  # shielded, with a deadline, by itself


def _make_calls(*, api_key: str, base_url: str, patience: float, transport: httpx2.AsyncBaseTransport | None) -> Calls:
    from backburner.providers.anthropic_calls import make_calls  # noqa: PLC0415

    return make_calls(api_key=api_key, base_url=base_url, patience=patience, transport=transport)


@attrs.define(kw_only=True)
class AnthropicProvider:
    """Implements `Provider`."""

    calls: Calls
    base_url: httpx2.URL
    offload: Offload
    name: str
    piece_bytes: int = PIECE_BYTES  # of an upload
    limits: Limits = LIMITS
    retention: timedelta = RETENTION

    async def submit(
        self, requests: Sequence[WireRequest], options: Mapping[str, str], check: Callable[[], None] = lambda: None
    ) -> BatchView:
        upload = Upload(await self.offload(partial(encode_requests, requests, self.piece_bytes)), check)
        try:
            answer = await self.calls.upload(BATCHES_PATH, upload, _headers(options, FORWARDED_HEADERS))
        except NoAnswer as lost:
            if upload.withheld is not None:
                raise upload.withheld from lost
            raise lost_submission(lost, body_sent=upload.sent) from lost
        if not answer.is_success:
            raise submission_error(answer)
        try:
            return parse_batch(answer.body, answer.headers)
        except Unreadable as reason:
            raise unreadable_submission(answer, reason) from reason

    async def find(self, options: Mapping[str, str], *, item_count: int, within: float, sieve: Sieve) -> Found:
        until = trio.current_time() + LONGEST_SEARCH
        pager = Pager(calls=self.calls, headers=_workspace(options), may_go_on=lambda: trio.current_time() < until)
        found: list[BatchView] = []
        oldest, far_enough = None, False
        while not far_enough and len(found) < MOST_FOUND and (views := await pager.next_page()):
            oldest = cutoff(pager.now, within, CLOCK_MARGIN)
            recent = [view for view in views if oldest is None or view.created_at >= oldest]
            if fitting := [view for view in recent if view.counts.total == item_count]:
                found += await sieve(fitting)
            far_enough = not recent
        return Found(batches=_newest_first(found), doubt=_doubt(pager, oldest, far_enough=far_enough))

    async def retrieve(self, batch: BatchRef) -> BatchView:
        return _view(await self._call(self.calls.get, batch), batch)

    async def snapshot(self, options: Mapping[str, str], provider_batch_ids: Collection[str]) -> dict[str, BatchView]:
        wanted = set(provider_batch_ids)
        seen: dict[str, BatchView] = {}
        most_pages = math.ceil(len(wanted) / PAGE_SIZE) + EXTRA_PAGES
        pager = Pager(calls=self.calls, headers=_workspace(options), may_go_on=lambda: pager.pages < most_pages)
        while len(seen) < len(wanted) and (views := await pager.next_page()):
            seen |= {view.provider_batch_id: view for view in views if view.provider_batch_id in wanted}
        return seen

    async def cancel(self, batch: BatchRef) -> BatchView:
        answer = await self._call(self.calls.post, batch, "/cancel")
        if answer.status in {400, 409}:
            # Possibly too late, which is harmless.
            view = await self.retrieve(batch)
            if view.ended or view.canceling:
                return view
        return _view(answer, batch)

    @asynccontextmanager
    async def results(self, batch: BatchRef) -> AsyncIterator[ResultLines]:
        named = own_results_url(await self.retrieve(batch), self.base_url)
        url = named or f"{_batch_path(batch.provider_batch_id)}/results"
        try:
            async with self.calls.download(url, _workspace(batch.options)) as download:
                require_lines(download.answer)
                yield DownloadedLines(download=download, provider_batch_id=batch.provider_batch_id)
        except NoAnswer as lost:
            raise lost_call(lost) from lost

    async def _call(self, send: Send, batch: BatchRef, action: str = "") -> Answer:
        try:
            return await send(_batch_path(batch.provider_batch_id) + action, _workspace(batch.options))
        except NoAnswer as lost:
            raise lost_call(lost) from lost


def _batch_path(provider_batch_id: str) -> str:
    if provider_batch_id in {"", ".", ".."}:
        raise BatchNotFound("That cannot be the id of a batch.")
    return f"{BATCHES_PATH}/{quote(provider_batch_id, safe='')}"


def _workspace(options: Mapping[str, str]) -> Mapping[str, str]:
    return _headers(options, WORKSPACE_HEADERS)


def _headers(options: Mapping[str, str], names: Collection[str]) -> Mapping[str, str]:
    return {name: value for name, value in options.items() if name in names}


def _view(answer: Answer, batch: BatchRef) -> BatchView:
    if not answer.is_success:
        raise batch_error(answer)
    try:
        view = parse_batch(answer.body, answer.headers)
    except Unreadable as reason:
        raise unreadable_answer(answer, reason) from reason
    if view.provider_batch_id != batch.provider_batch_id:
        raise unreadable_answer(answer, Unreadable("it describes another batch"))
    return view


def _doubt(pager: Pager, oldest: datetime | None, *, far_enough: bool) -> str | None:
    """Why the pages may not have told of every batch made since `oldest`."""
    if not (far_enough or pager.complete):
        return "The listing of batches could not be read to its end."
    if not pager.whole_since(oldest):
        return "The listing holds a batch that could not be read."
    return None


def _newest_first(views: list[BatchView]) -> list[BatchView]:
    return sorted(views, key=lambda view: view.created_at, reverse=True)
