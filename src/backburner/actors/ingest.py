"""Reading an ended provider batch's results into the database, until every item has one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

import attrs
import structlog
import trio

from backburner.actors.account import AccountKeeper
from backburner.actors.denials import Denials
from backburner.actors.writer import Writes
from backburner.clock import Clock
from backburner.commands import BatchIngested, BatchLost, NotOurs, ReadFailed
from backburner.errors import ProviderError, ProviderPaused, ResultsGone, TransientError
from backburner.holds import problem
from backburner.leadership import Mandate
from backburner.model import ProviderBatch
from backburner.polling import after_denial, after_failure
from backburner.providers.base import BatchRef, Provider
from backburner.reading import Reading
from backburner.states import BatchStatus
from backburner.storage.database import Database
from backburner.storage.members import members as members_of
from backburner.storage.results import stored_indices

log = structlog.get_logger()

SLOW = 60.0  # seconds; results that take longer are given to us slowly
#: Before the second, third and last reading of what seems to be whole and is not. They must agree on what is missing
#: before it counts as errored: it is paid for, and whatever shows the provider's files to us may be behind.
REREADS = (timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=15))


@attrs.frozen(kw_only=True, eq=False)
class Ingest:
    """Streams results of ended batches, a few batches at a time: memory does not grow with their size."""

    provider: Provider
    database: Database
    writes: Writes
    mandate: Mandate
    clock: Clock
    random: Random
    limiter: trio.CapacityLimiter  # streams at once
    keeper: AccountKeeper
    denials: Denials

    async def run(self, batch: ProviderBatch) -> None:
        """Read an ended batch once. Afterwards it is ingested, or has a time for the next try."""
        if batch.status is not BatchStatus.ENDED:  # given up meanwhile
            return
        async with self._place():
            members = await self.database.read(members_of, batch.key) if batch.round > 1 else None
            reading = Reading(batch=batch, term=self.mandate.term, members=members)
            try:
                reading.known(await self._stored(batch))
                await self._read(reading)
            except (ProviderError, TransientError) as error:
                await self._flush(reading)
                await self._interrupted(reading, error)
            except Exception:
                # What nobody foresaw costs nothing that was read before it. Cancelled, the term is over anyway.
                await self._flush(reading)  # noqa: ASYNC120
                raise
            else:
                await self._judge(reading)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the places for streams. A slow one has to go on without: it costs little and holds up nobody."""
        holder = object()
        await self.limiter.acquire_on_behalf_of(holder)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._vacate_later, holder)
            yield
            nursery.cancel_scope.cancel()

    async def _vacate_later(self, holder: object) -> None:
        try:
            await trio.sleep(SLOW)
        finally:
            self.limiter.release_on_behalf_of(holder)

    async def broke(self, batch: ProviderBatch) -> None:
        """Reading this batch failed in a way that nobody foresaw: it waits as after any failure."""
        await self._fail(batch, {"code": "internal_error"}, None)

    async def _interrupted(self, reading: Reading, error: ProviderError | TransientError) -> None:
        batch = reading.batch
        if isinstance(error, ResultsGone):
            log.error("results are gone at the provider", batch=batch.id, error=str(error))
            await self._complete(reading)
            return
        since = self.denials.since(batch, error)
        if since is not None and await self.denials.is_lost(batch, since):
            log.error("provider batch is lost", batch=batch.id, provider_batch_id=batch.provider_batch_id)
            await self.writes.durable(BatchLost(term=self.mandate.term, batch_key=batch.key, at=self.clock.now()))
            return
        if isinstance(error, ProviderPaused):
            await self.keeper.poll_refused(error, batch.options)
        log.warning("reading results failed", batch=batch.id, error=str(error), failures=batch.poll_failures + 1)
        reason = problem("results_unavailable", str(error), batch.error, self.clock.now())
        await self._fail(batch, reason, getattr(error, "retry_after", None), since)

    async def _stored(self, batch: ProviderBatch) -> list[int]:
        if batch.counts.finished == 0:
            return []
        return await self.database.read(stored_indices, batch.job_key, batch.round, batch.first_index, batch.last_index)

    async def _read(self, reading: Reading) -> None:
        self.mandate.check()
        async with self.provider.results(BatchRef.of(reading.batch)) as results:
            await self.keeper.poll_answered()
            while lines := await results.next_lines():
                for line in lines:
                    reading.take(line)
                    if reading.page_is_full:
                        await self._flush(reading)

    async def _flush(self, reading: Reading) -> None:
        if (page := reading.page()) is not None:
            await self.writes.send(page)

    async def _judge(self, reading: Reading) -> None:
        """The stream came to a clean end: is it all?"""
        await self._flush(reading)
        batch = reading.batch
        if reading.odd:
            log.warning("odd lines in results", batch=batch.id, **dict(reading.odd))
        if reading.is_complete:
            await self._ingested(batch)
        elif reading.is_somebody_elses:
            await self._disown(batch)
        else:
            await self._judge_missing(reading)

    async def _judge_missing(self, reading: Reading) -> None:
        # A pass that brought something new agrees with none before it.
        reads = 1 if reading.new else reading.batch.reads + 1
        if reads > len(REREADS):
            log.error("items without a result", batch=reading.batch.id, items=reading.missing(), reads=reads)
            await self._complete(reading)
            return
        now, missing = self.clock.now(), f"{reading.missing()} items are missing"
        error = problem("results_incomplete", missing, reading.batch.error, now, **reading.odd)
        again = now + REREADS[reads - 1]
        await self._postpone(reading.batch, error, again, reads=reads, failures=0)

    async def _complete(self, reading: Reading) -> None:
        for page in reading.substitutes():
            await self.writes.send(page)
        await self._ingested(reading.batch)

    async def _ingested(self, batch: ProviderBatch) -> None:
        await self.writes.durable(BatchIngested(term=self.mandate.term, batch_key=batch.key, at=self.clock.now()))

    async def _disown(self, batch: ProviderBatch) -> None:
        assert batch.provider_batch_id is not None  # noqa: S101  # an ended batch has one
        log.error("adopted somebody else's batch", batch=batch.id, provider_batch_id=batch.provider_batch_id)
        await self.writes.durable(
            NotOurs(
                term=self.mandate.term,
                batch_key=batch.key,
                provider_batch_id=batch.provider_batch_id,
                at=self.clock.now(),
            )
        )

    async def _fail(
        self,
        batch: ProviderBatch,
        reason: dict[str, Any],
        retry_after: float | None,
        not_found_since: datetime | None = None,
    ) -> None:
        failures, now = batch.poll_failures + 1, self.clock.now()
        due = after_failure(failures, now, retry_after=retry_after, random=self.random)
        due = after_denial(due, not_found_since, now)
        await self._postpone(batch, reason, due, reads=batch.reads, failures=failures, not_found_since=not_found_since)

    async def _postpone(
        self,
        batch: ProviderBatch,
        error: dict[str, Any],
        due: datetime,
        *,
        reads: int,
        failures: int,
        not_found_since: datetime | None = None,
    ) -> None:
        await self.writes.durable(
            ReadFailed(
                term=self.mandate.term,
                batch_key=batch.key,
                reads=reads,
                failures=failures,
                next_poll_at=due,
                error=error,
                not_found_since=not_found_since,
            )
        )
