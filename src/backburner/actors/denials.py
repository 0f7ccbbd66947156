"""What follows when the provider answers 404 for a batch that it has made: for weeks, nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import attrs
import structlog
import trio

from backburner.clock import Clock
from backburner.errors import BatchNotFound, ProviderError
from backburner.leadership import Mandate
from backburner.model import ProviderBatch
from backburner.polling import DENIED_WHILE_STOPPING, may_be_lost
from backburner.providers.base import BatchView, Provider
from backburner.submission import LAST_MARGIN

log = structlog.get_logger()


@attrs.frozen(kw_only=True, eq=False)
class Denials:
    """Tells a 404 that is final from those that are not. Shared by pollers and readers of results."""

    provider: Provider
    mandate: Mandate
    clock: Clock
    _listing: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    def since(self, batch: ProviderBatch, error: Exception) -> datetime | None:
        """Since when the batch is answered with nothing but 404, this answer included; None for any other answer."""
        if not isinstance(error, BatchNotFound):
            return None
        return batch.not_found_since or self.clock.now()

    def may_take_long(self, batch: ProviderBatch) -> bool:
        """Whether one more 404 for this batch leads to a whole listing, which may take minutes."""
        since, now = batch.not_found_since, self.clock.now()
        if since is None or batch.job_stopping is not None:
            return False
        made_at = _made_at(batch, now)
        return may_be_lost(not_found_since=since, made_at=made_at, retention=self.provider.retention, now=now)

    async def is_lost(self, batch: ProviderBatch, since: datetime) -> bool:
        """Whether the batch is given up. While its job goes on: only when the provider can have removed it by now, and
        a whole listing does not show it.
        """
        now = self.clock.now()
        if batch.job_stopping is not None:
            return now - since >= DENIED_WHILE_STOPPING
        made_at = _made_at(batch, now)
        if not may_be_lost(not_found_since=since, made_at=made_at, retention=self.provider.retention, now=now):
            return False
        return await self._is_unlisted(batch, (now - made_at).total_seconds())

    async def _is_unlisted(self, batch: ProviderBatch, age: float) -> bool:
        try:
            async with self._listing:
                self.mandate.check()
                within = age + LAST_MARGIN
                found = await self.provider.find(
                    batch.options, item_count=batch.item_count, within=within, sieve=partial(_only, batch)
                )
        except ProviderError as error:
            log.warning("listing for a lost batch failed", batch=batch.id, error=str(error))
            return False
        return found.doubt is None and not found.batches


def _made_at(batch: ProviderBatch, now: datetime) -> datetime:
    return batch.provider_created_at or batch.submitted_at or now


async def _only(batch: ProviderBatch, views: Sequence[BatchView]) -> list[BatchView]:
    return [view for view in views if view.provider_batch_id == batch.provider_batch_id]
