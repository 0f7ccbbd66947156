"""The ticker: tells when provider batches are looked at, and starts a poller for each that is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import attrs
import structlog
import trio

from backburner.actors.ingest import Ingest
from backburner.actors.loops import Bell, contained
from backburner.actors.poller import Poller
from backburner.clock import Clock
from backburner.cycle import Cycle
from backburner.errors import LeadershipLost, NotFound, ProviderError, StorageUnavailable
from backburner.leadership import Mandate
from backburner.model import ProviderBatch
from backburner.polling import tick_jitter
from backburner.providers.base import BatchView, Provider
from backburner.states import BatchStatus
from backburner.storage.batches import due_batches, get_batch, next_poll_time
from backburner.storage.database import Database
from backburner.storage.facts import is_polling

log = structlog.get_logger()

SNAPSHOT_FROM = 20  # batches of a page; from here on one listing is cheaper than looking at each
SOONEST = 1.0  # seconds between two cycles at most, whatever is due: what falls due close together shares a cycle
AWAY = 1.0  # seconds until the next try while the database is away


@attrs.define(kw_only=True, eq=False)
class Ticker:
    """Ticks at once, then every `interval` ± `jitter`, sooner when a batch is due sooner or the bell rings.

    Ticks never pile up: the next one comes after the cycle. Ends only by cancellation.
    """

    database: Database
    provider: Provider
    poller: Poller
    ingest: Ingest
    mandate: Mandate
    clock: Clock
    random: Random
    bell: Bell
    page_size: int
    interval: float  # seconds
    jitter: float  # seconds
    stored_results: Callable[[], int]  # since it was last asked
    report: Callable[[dict[str, Any]], Awaitable[None]]
    next_tick_at: datetime | None = attrs.field(default=None, init=False)
    _busy: set[int] = attrs.field(factory=set, init=False)  # keys of batches that are being looked at or read
    _reported: float = attrs.field(default=float("-inf"), init=False)  # when, monotonic

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as readers:
            task_status.started()
            while True:
                await self.bell.heard(await self._turn(readers))

    async def _turn(self, readers: trio.Nursery) -> float:
        """One cycle. Returns the seconds until the next."""
        try:
            polling = await self.database.read(is_polling)
            if polling and not self._quiet_seconds():
                await self.cycle(readers)
            return await self._until_next(polling)
        except StorageUnavailable as error:
            log.warning("tick skipped", error=str(error))
            return AWAY

    async def _until_next(self, polling: bool) -> float:
        wait = tick_jitter(self.interval, self.jitter, self.random)
        if polling:
            due = await self.database.read(next_poll_time, self.provider.name)
            if due is not None:
                # What is being read stays due until it is done.
                soonest = min(SOONEST, self.interval / 20)
                wait = min(wait, max(soonest, (due - self.clock.now()).total_seconds()))
        wait = max(wait, self._quiet_seconds())
        self.next_tick_at = self.clock.now() + timedelta(seconds=wait)
        return wait

    def _quiet_seconds(self) -> float:
        return self.poller.quiet.left(self.clock.monotonic())

    async def cycle(self, readers: trio.Nursery) -> None:
        """Look at every batch that is due, page by page, and report. What takes long goes on in `readers`."""
        cycle = Cycle(start_time=self.clock.now())
        began = self.clock.monotonic()
        above: int | None = 0
        while above is not None:
            page = await self.database.read(
                due_batches, self.provider.name, now=cycle.start_time, limit=self.page_size, above=above
            )
            await self._poll_page([batch for batch in page if batch.key not in self._busy], cycle, readers)
            above = page[-1].key if len(page) == self.page_size else None
        cycle.updated_items_count = self.stored_results()
        # A bell may ring for nothing; a cycle of nothing is worth a word once in an interval.
        if cycle.batches or cycle.updated_items_count or began - self._reported >= self.interval / 2:
            self._reported = began
            summary = cycle.summary(self.clock.monotonic() - began)
            log.info("Poll BatchJob", **summary)
            await self.report(summary)

    async def _poll_page(self, page: list[ProviderBatch], cycle: Cycle, readers: trio.Nursery) -> None:
        cycle.batches.update(Counter(batch.provider for batch in page))
        views = await self._views(page, cycle)
        unchanged = []
        async with trio.open_nursery() as pollers:
            for batch in page:
                view = views.get(batch.provider_batch_id or "")
                if view is not None and self.poller.is_unchanged(batch, view):
                    unchanged.append(batch)
                else:
                    self._busy.add(batch.key)
                    # Nobody else's batch waits for a listing that only this one needs.
                    nursery = readers if self.poller.denials.may_take_long(batch) else pollers
                    nursery.start_soon(self._poll, batch, view, cycle, readers)
            if unchanged:
                await self.poller.passed(unchanged, cycle)

    async def _views(self, page: list[ProviderBatch], cycle: Cycle) -> Mapping[str, BatchView]:
        views: dict[str, BatchView] = {}
        for options, wanted in _listed_together(page):
            if len(wanted) >= SNAPSHOT_FROM and not self._quiet_seconds():
                views |= await self._snapshot(options, wanted, cycle)
        return views

    async def _snapshot(
        self, options: Mapping[str, str], wanted: Sequence[str], cycle: Cycle
    ) -> Mapping[str, BatchView]:
        try:
            self.mandate.check()
            return await self.provider.snapshot(options, wanted)
        except ProviderError as error:
            cycle.errors += 1
            log.warning("listing provider batches failed", error=str(error))
            await self.poller.mind(error, options)
            return {}

    async def _poll(self, batch: ProviderBatch, view: BatchView | None, cycle: Cycle, readers: trio.Nursery) -> None:
        """A poller: one due batch, contained, so that what breaks it breaks only it."""
        ended = batch.status is BatchStatus.ENDED

        async def look() -> None:
            nonlocal ended
            if not ended:
                ended = await self.poller.look(batch, view, cycle)

        try:
            await contained(look, self._broken(batch, self.poller.broke))
        finally:
            if not ended:
                self._busy.discard(batch.key)
        if ended:
            readers.start_soon(self._read, batch)

    async def _read(self, batch: ProviderBatch) -> None:
        async def read() -> None:
            await self.ingest.run(await self.database.read(get_batch, batch.key))

        try:
            await contained(read, self._broken(batch, self.ingest.broke))
        finally:
            self._busy.discard(batch.key)
            self.bell.ring()

    def _broken(
        self, batch: ProviderBatch, postpone: Callable[[ProviderBatch], Awaitable[None]]
    ) -> Callable[[BaseExceptionGroup[Exception]], Awaitable[None]]:
        async def record(errors: BaseExceptionGroup[Exception]) -> None:
            if errors.subgroup(LeadershipLost) is not None:
                raise LeadershipLost("A poller found the term over.") from errors
            if errors.subgroup((NotFound, StorageUnavailable)) is not None:  # deleted meanwhile; to be done again soon
                log.warning("batch not looked at", batch=batch.id, error=str(errors.exceptions[0]))
                return
            log.error("poller failed", batch=batch.id, exc_info=errors)
            await postpone(batch)

        return record


def _listed_together(page: Sequence[ProviderBatch]) -> Collection[tuple[Mapping[str, str], list[str]]]:
    """Options, and the ids of the submitted batches made with them: a listing shows what these lead to."""
    groups: dict[frozenset[tuple[str, str]], tuple[Mapping[str, str], list[str]]] = {}
    for batch in page:
        if batch.status is BatchStatus.SUBMITTED and batch.provider_batch_id is not None:
            _, ids = groups.setdefault(frozenset(batch.options.items()), (batch.options, []))
            ids.append(batch.provider_batch_id)
    return groups.values()
