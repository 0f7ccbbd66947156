"""What Anthropic's batch endpoints answer, checked by our own structs and read leniently."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import attrs
import msgspec

from backburner.backoff import http_date
from backburner.model import Counts
from backburner.providers.base import BatchView


class Unreadable(ValueError):
    """The body is not the object that was asked for."""


class _Batch(msgspec.Struct):
    id: str
    processing_status: str
    request_counts: dict[str, int] = {}
    created_at: str | None = None
    cancel_initiated_at: str | None = None
    archived_at: str | None = None
    results_url: str | None = None


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool = False
    last_id: str | None = None


@attrs.frozen(kw_only=True)
class Page:
    """One page of the listing; `unreadable` of its entries could not be understood and are left out."""

    views: list[BatchView]
    #: How many of the views come before the first entry that is left out.
    before_gap: int
    has_more: bool
    last_id: str | None
    unreadable: int


_batch_decoder = msgspec.json.Decoder(_Batch)
_page_decoder = msgspec.json.Decoder(_Page)


def parse_batch(raw: bytes, headers: Mapping[str, str]) -> BatchView:
    """The batch in `raw`. Unknown fields, states and counts are fine. Raises Unreadable."""
    batch = _decode_batch(raw)
    created_at = parse_time(batch.created_at) or http_date(headers.get("date"))
    if created_at is None:
        raise Unreadable("a batch without a readable created_at")
    ended = batch.processing_status == "ended"
    return BatchView(
        provider_batch_id=batch.id,
        status=batch.processing_status,
        ended=ended,
        canceling=batch.processing_status == "canceling" or batch.cancel_initiated_at is not None,
        counts=_counts(batch.request_counts),
        created_at=created_at,
        results_ready=ended and bool(batch.results_url) and batch.archived_at is None,
        results_gone=batch.archived_at is not None,
        raw=_keepable(raw),
    )


def results_url(raw: bytes) -> str | None:
    """Where the batch in `raw` says that its results are."""
    return _decode_batch(raw).results_url


def parse_page(raw: bytes, headers: Mapping[str, str]) -> Page:
    """One page of the listing, in its order. Raises Unreadable."""
    try:
        page = _page_decoder.decode(raw)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not a page of batches: {error}") from error
    entries = [_parse_entry(bytes(entry), headers) for entry in page.data]
    views = [view for view in entries if view is not None]
    last_id = page.last_id or (views[-1].provider_batch_id if views else None)
    return Page(
        views=views,
        before_gap=entries.index(None) if None in entries else len(entries),
        has_more=page.has_more,
        last_id=last_id,
        unreadable=len(entries) - len(views),
    )


def parse_time(text: str | None) -> datetime | None:
    """An RFC 3339 time with any offset and any number of fraction digits, in UTC; a leap second counts as :59."""
    if text is None:
        return None
    text = text.strip().upper()
    if text[16:19] == ":60":
        text = f"{text[:16]}:59{text[19:]}"
    try:
        return _utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _decode_batch(raw: bytes) -> _Batch:
    try:
        batch = _batch_decoder.decode(raw)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not a batch: {error}") from error
    if not batch.id:
        raise Unreadable("a batch without an id")
    if "\x00" in batch.id + batch.processing_status:  # no text for PostgreSQL
        raise Unreadable("a batch whose id or status holds a NUL")
    return batch


def _keepable(raw: bytes) -> bytes:
    """As it came, if it is text: in what we have no use for, decoders let pass what no database keeps as text.

    That is replaced. As unreadable the batch would be missed in the listing, and sent again.
    """
    return raw.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}").encode()


def _parse_entry(raw: bytes, headers: Mapping[str, str]) -> BatchView | None:
    try:
        return parse_batch(raw, headers)
    except Unreadable:
        return None


def _counts(counts: Mapping[str, int]) -> Counts:
    return Counts(**{field: counts.get(field, 0) for field in _COUNT_FIELDS})


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


_COUNT_FIELDS = tuple(field.name for field in attrs.fields(Counts))
