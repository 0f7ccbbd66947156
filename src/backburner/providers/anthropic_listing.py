"""Walking the provider's listing of batches, newest first, without ever walking for ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import structlog

from backburner.backoff import http_date
from backburner.providers.anthropic_errors import NoAnswer, listing_error, lost_call, unreadable_answer
from backburner.providers.anthropic_objects import Page, Unreadable, parse_page
from backburner.providers.base import BatchView

if TYPE_CHECKING:
    from backburner.providers.anthropic_calls import Calls

BATCHES_PATH = "/v1/messages/batches"
PAGE_SIZE = 1000

log = structlog.get_logger()


@attrs.define(kw_only=True)
class Pager:
    """Reads pages for as long as it may. Batches that the page before showed are not given again.

    Its memory does not grow with the listing.
    """

    calls: Calls
    headers: Mapping[str, str]  # of every request: a listing shows one workspace
    may_go_on: Callable[[], bool]  # asked before each page
    pages: int = 0  # that were read
    #: The provider's clock when it answered the first page; without a `Date`, when the newest batch was made.
    now: datetime | None = None
    #: Whether the provider said that there is nothing more; an empty page that promises more does not count.
    complete: bool = False
    _after: str | None = None
    _shown: frozenset[str] = attrs.field(default=frozenset(), init=False)  # on the last page
    #: When the last batch was made that stands before any that could not be read.
    _whole_until: datetime = attrs.field(default=datetime.max.replace(tzinfo=UTC), init=False)
    _gap: bool = attrs.field(default=False, init=False)

    def whole_since(self, oldest: datetime | None) -> bool:
        """Whether no batch made since then was in the pages without being understood."""
        return not self._gap or (oldest is not None and self._whole_until < oldest)

    async def next_page(self) -> list[BatchView]:
        """The next batches, in the listing's order; [] when there is nothing more, or nothing new to be had."""
        if self.complete or not self.may_go_on():
            return []
        self.pages += 1
        page = await self._fetch()
        self.complete = not page.has_more
        self._after = page.last_id
        self._look_for_gaps(page)
        fresh = {view.provider_batch_id: view for view in page.views if view.provider_batch_id not in self._shown}
        self._shown = frozenset(view.provider_batch_id for view in page.views)
        return list(fresh.values())

    async def _fetch(self) -> Page:
        params = {"limit": PAGE_SIZE} | ({"after_id": self._after} if self._after else {})
        try:
            answer = await self.calls.get(BATCHES_PATH, self.headers, params)
        except NoAnswer as lost:
            raise lost_call(lost) from lost
        if not answer.is_success:
            raise listing_error(answer)
        try:
            page = parse_page(answer.body, answer.headers)
        except Unreadable as reason:
            raise unreadable_answer(answer, reason) from reason
        self.now = self.now or http_date(answer.headers.get("date")) or _newest(page.views)
        return page

    def _look_for_gaps(self, page: Page) -> None:
        if not self._gap and page.before_gap:
            self._whole_until = page.views[page.before_gap - 1].created_at
        if page.unreadable:
            self._gap = True
            log.warning("unreadable batches in listing", count=page.unreadable)


def cutoff(now: datetime | None, within: float, margin: float) -> datetime | None:
    """What was made before this is too old. None while nothing tells the provider's time."""
    return None if now is None else now - timedelta(seconds=within + margin)


def _newest(views: list[BatchView]) -> datetime | None:
    return max((view.created_at for view in views), default=None)
