"""The sweeper: ends what is overdue and removes what belongs to nobody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import structlog
import trio

from backburner.actors.loops import Bell
from backburner.clock import Clock
from backburner.errors import ProviderError, StorageUnavailable
from backburner.ids import Ids
from backburner.leadership import Mandate
from backburner.model import ProviderBatch
from backburner.pace import Pace
from backburner.providers.base import BatchRef, Provider
from backburner.storage import ahead, audit, batches, files, idempotency, jobs, staging
from backburner.storage.database import Database
from backburner.storage.fence import fenced

log = structlog.get_logger()

SWEEP = 300.0  # seconds between rounds when nothing falls due; the bell rings sooner
AWAY = 1.0  # while the database is away
PAGE = 100  # jobs or batches in one transaction
SWEPT_ROWS = 2_000  # in one transaction, which takes some ten milliseconds
STALE = timedelta(hours=1)  # an upload that has not been touched for that long has broken off
SWEPT_PARTS = 2  # of deleted files, in one transaction; they have some megabytes each
CANCELS = 16  # of batches that are given up, at once
PAUSE = 0.01  # seconds between transactions, so that others get through


@attrs.define(kw_only=True, eq=False)
class Sweeper:
    """Expires jobs past their deadline, batches past the lookback and files that nobody uses; sweeps leftovers and what
    was kept long enough.

    Ends only by cancellation; raises LeadershipLost.
    """

    database: Database
    provider: Provider
    mandate: Mandate
    clock: Clock
    ids: Ids
    bell: Bell
    pace: Pace
    ended: Callable[[], None]  # a job may have ended, or has to be ended at the provider
    _swept: float = attrs.field(default=float("-inf"), init=False)  # when, monotonic
    _given_up: set[int] = attrs.field(factory=set, init=False)  # keys of batches that are being given up
    _cancelling: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(CANCELS), init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                await self.bell.heard(await self._turn(nursery))

    async def _turn(self, nursery: trio.Nursery) -> float:
        """One round. Returns the seconds until the next; what has to ask the provider goes on in the nursery."""
        try:
            await self._expire_jobs()
            await self._expire_batches(nursery)
            await self._sweep_rows()
            await self._sweep_old()
            deadline = await self.database.read(jobs.next_deadline)
        except StorageUnavailable as error:
            log.warning("sweep skipped", error=str(error))
            return AWAY
        idle = max(SWEEP, self.pace.look)
        if deadline is None:
            return idle
        return max(0.0, min(idle, (deadline - self.clock.now()).total_seconds()))

    async def _expire_jobs(self) -> None:
        now = self.clock.now()
        if await self.database.read(jobs.past_deadline, now=now, limit=1):
            await self._fenced(jobs.expire_jobs, now=now, limit=PAGE, ids=self.ids)
            log.info("jobs past their deadline are being ended")
            self.ended()

    async def _expire_batches(self, nursery: trio.Nursery) -> None:
        now, lookback = self.clock.now(), self.pace.lookback
        for batch in await self.database.read(batches.hopeless_batches, now=now, lookback=lookback, limit=PAGE):
            if batch.key not in self._given_up:
                self._given_up.add(batch.key)
                nursery.start_soon(self._give_up, batch)

    async def _give_up(self, batch: ProviderBatch) -> None:
        """Cancel it and end it here. Side by side with others: each may take as long as a call may."""
        log.error("batch is too old, given up", batch=batch.id, submitted_at=str(batch.submitted_at))
        try:
            async with self._cancelling:
                await self._cancel(batch)
            await self._fenced(batches.give_up, batch.key, now=self.clock.now(), ids=self.ids)
            self.ended()
        except StorageUnavailable as error:
            log.warning("giving up postponed", batch=batch.id, error=str(error))
        finally:
            self._given_up.discard(batch.key)

    async def _cancel(self, batch: ProviderBatch) -> None:
        if batch.provider_batch_id is None or batch.ended_at is not None or not batch.is_recognised:
            return
        try:
            self.mandate.check()
            await self.provider.cancel(BatchRef.of(batch))
        except ProviderError as error:
            log.warning("cancelling an old batch failed", batch=batch.id, error=str(error))

    async def _sweep_rows(self) -> None:
        while (key := await self.database.read(staging.loose_key_before, self.clock.now() - STALE)) is not None:
            while await self._fenced(  # noqa: ASYNC110
                staging.sweep_key, key, most=SWEPT_ROWS, before=self.clock.now() - STALE, now=self.clock.now()
            ):
                await trio.sleep(PAUSE)

    async def _sweep_old(self) -> None:
        now = self.clock.monotonic()
        if now - self._swept >= SWEEP:  # a bell makes nothing older
            await self._pull_back()
            await self._sweep_answers()
            await self._sweep_audit()
            await self._sweep_files()
            self._swept = now

    async def _pull_back(self) -> None:
        waits = timedelta(seconds=2 * max(self.pace.interval, self.pace.settle))
        now, longest = self.clock.now(), max(ahead.LONGEST_LOOK, waits)
        if await self.database.read(ahead.is_too_far_ahead, now=now, longest_look=longest):
            rows = await self._fenced(ahead.pull_back, now=now, longest_look=longest)
            log.warning("a clock was ahead; what it put off is due now", rows=rows)

    async def _sweep_answers(self) -> None:
        while await self._fenced(idempotency.sweep, now=self.clock.now(), most=SWEPT_ROWS):  # noqa: ASYNC110
            await trio.sleep(PAUSE)

    async def _sweep_files(self) -> None:
        now = self.clock.now()
        if await self._fenced(files.expire_files, before=now - self.pace.file_retention, now=now):
            log.info("files that nobody has used for long are being deleted")
        while await self._fenced(files.sweep_parts, most=SWEPT_PARTS):  # noqa: ASYNC110
            await trio.sleep(PAUSE)

    async def _sweep_audit(self) -> None:
        before = self.clock.now() - self.pace.audit_kept
        while await self._fenced(audit.sweep, before=before, most=SWEPT_ROWS):  # noqa: ASYNC110
            await trio.sleep(PAUSE)

    async def _fenced(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self.database.write(fenced, self.mandate.term, work, *args, **kwargs)
