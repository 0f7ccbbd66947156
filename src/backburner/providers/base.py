"""What a provider of batch inference is to the rest of the program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

import attrs

from backburner.model import Counts, ProviderBatch

MEBIBYTE = 1024 * 1024


@attrs.frozen(kw_only=True)
class Limits:
    """What one batch may hold at this provider."""

    max_items: int  # requests in a batch
    max_bytes: int  # of the body that creates it
    max_item_bytes: int  # of one request


@attrs.frozen(kw_only=True)
class WireRequest:
    """One request as it is sent: our own custom id and the user's params, verbatim JSON."""

    custom_id: str
    params: bytes


@attrs.frozen
class BatchRef:
    """A batch at the provider, and the options that it was made with: without them it may not be visible."""

    provider_batch_id: str
    options: Mapping[str, str]

    @classmethod
    def of(cls, batch: ProviderBatch) -> BatchRef:
        """That of a batch that the provider is known to have."""
        assert batch.provider_batch_id is not None  # noqa: S101  # every caller has made sure of it
        return cls(batch.provider_batch_id, batch.options)


@attrs.frozen(kw_only=True)
class BatchView:
    """What the provider says of one batch at one moment."""

    provider_batch_id: str
    status: str  # the provider's own word
    ended: bool  # results are complete at the provider
    canceling: bool  # a cancel was accepted
    counts: Counts  # decide nothing on them before `ended`
    created_at: datetime  # by the provider's clock
    results_ready: bool  # `ended`, and the provider names a place to read them
    results_gone: bool  # the provider has removed them
    raw: bytes  # the provider's JSON, to be kept


@attrs.frozen(kw_only=True)
class Found:
    """Batches that a listing has shown, newest first."""

    batches: list[BatchView]
    doubt: str | None  # why there may be more of them, for people; None when there are none


class Sieve(Protocol):
    """Those of some batches that are of interest, in the same order."""

    def __call__(self, views: Sequence[BatchView], /) -> Awaitable[Sequence[BatchView]]: ...


class ResultLines(Protocol):
    """A stream of result lines under way."""

    async def next_lines(self) -> list[bytes]:
        """The next complete lines, without their line ends, at least one; `[]` at the clean end of the stream.

        A last line without a line end is given if it can be read; if not, the stream was cut inside it.
        Blank lines are left out, a byte order mark and carriage returns at line ends are removed.

        Raises ResultsBroken when the connection breaks or stalls, or the last line is cut; every complete line
        received before has been given then.
        """
        ...


class Provider(Protocol):
    """A batch-inference API.

    Every method may raise ProviderUnavailable (call again later) and ProviderPaused (a person must act first).
    No method retries by itself or waits for a rate limit: schedules are the caller's.
    All methods may be called concurrently.
    """

    name: str
    limits: Limits
    retention: timedelta  # for how long it keeps a batch's results, from the making of the batch

    async def submit(
        self, requests: Sequence[WireRequest], options: Mapping[str, str], check: Callable[[], None] = ...
    ) -> BatchView:
        """Make one batch. `check` is called before what completes the request is sent: then nothing has been made yet,
        and what it raises is raised.

        Never repeated by the adapter; the call has one of these outcomes:

        a view (the batch was made); ProviderUnavailable or ProviderPaused (nothing was made, later it may be);
        SubmissionTooLarge (nothing was made, send less at once); SubmissionRefused (nothing was made, never send this
        again); SubmissionUnknown (a batch may have been made: look for it with `find`). Cancelling is unknown too.
        """
        ...

    async def find(self, options: Mapping[str, str], *, item_count: int, within: float, sieve: Sieve) -> Found:
        """The batches of `item_count` requests made in the last `within` seconds, where these options lead.

        However many there are: `sieve` is given a few at a time, and only what it lets through is kept. Ages are taken
        from the provider's own clock.
        """
        ...

    async def retrieve(self, batch: BatchRef) -> BatchView:
        """Raises BatchNotFound."""
        ...

    async def snapshot(self, options: Mapping[str, str], provider_batch_ids: Collection[str]) -> dict[str, BatchView]:
        """Views of many batches made with these options, in few calls. What the listing does not show is left out."""
        ...

    async def cancel(self, batch: BatchRef) -> BatchView:
        """Ask the provider to stop a batch; harmless when repeated or too late. Raises BatchNotFound."""
        ...

    def results(self, batch: BatchRef) -> AbstractAsyncContextManager[ResultLines]:
        """Read the results from the beginning, in the provider's order.

        Entering raises BatchNotFound (results may lag behind `ended`), ResultsGone, or the common errors.
        Leaving closes the connection, whatever the reason.
        """
        ...
