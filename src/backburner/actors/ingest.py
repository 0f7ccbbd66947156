"""Reading an ended provider batch's results into the database, until every item has one."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

import attrs
import structlog
import trio

from backburner.actors.writer import Writes
from backburner.clock import Clock
from backburner.commands import BatchIngested, NotOurs, ReadFailed
from backburner.errors import BatchNotFound, ProviderError, ProviderPaused, ResultsGone, TransientError
from backburner.leadership import Mandate
from backburner.model import ProviderBatch
from backburner.polling import after_failure
from backburner.providers.base import Provider
from backburner.reading import Reading
from backburner.storage.database import Database
from backburner.storage.results import stored_indices

log = structlog.get_logger()

WHOLE_READS = 3  # that must agree on what is missing before the missing count as errored
REREAD = timedelta(seconds=5)  # between them
LAGGING = (BatchNotFound, TransientError, ProviderPaused)


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

    async def run(self, batch: ProviderBatch) -> None:
        """Read an ended batch once. Afterwards it is ingested, or has a time for the next try."""
        async with self.limiter:
            reading = Reading(batch=batch, term=self.mandate.term)
            reading.known(await self._stored(batch))
            try:
                await self._read(reading)
            except ResultsGone as gone:
                log.warning("results are gone at the provider", batch=batch.id, error=str(gone))
                await self._complete(reading)
            except LAGGING as error:
                await self._flush(reading)
                await self._try_again(batch, error)
            else:
                await self._judge(reading)

    async def _stored(self, batch: ProviderBatch) -> list[int]:
        if batch.counts.finished == 0:
            return []
        return await self.database.read(stored_indices, batch.job_key, batch.round, batch.first_index, batch.last_index)

    async def _read(self, reading: Reading) -> None:
        self.mandate.check()
        assert reading.batch.provider_batch_id is not None  # noqa: S101  # an ended batch has one
        async with self.provider.results(reading.batch.provider_batch_id) as results:
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
        elif batch.reads + 1 >= WHOLE_READS:
            log.error("items without a result", batch=batch.id, items=reading.missing(), reads=batch.reads + 1)
            await self._complete(reading)
        else:
            error = {"code": "results_incomplete", "message": f"{reading.missing()} items are missing", **reading.odd}
            await self._postpone(batch, error, self.clock.now() + REREAD, reads=batch.reads + 1, failures=0)

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

    async def _try_again(self, batch: ProviderBatch, error: ProviderError | TransientError) -> None:
        failures = batch.poll_failures + 1
        retry_after = getattr(error, "retry_after", None)
        due = after_failure(failures, self.clock.now(), retry_after=retry_after, random=self.random)
        log.warning("reading results failed", batch=batch.id, error=str(error), failures=failures)
        problem = {"code": "results_unavailable", "message": str(error)}
        await self._postpone(batch, problem, due, reads=batch.reads, failures=failures)

    async def _postpone(
        self, batch: ProviderBatch, error: dict[str, Any], due: datetime, *, reads: int, failures: int
    ) -> None:
        await self.writes.durable(
            ReadFailed(
                term=self.mandate.term,
                batch_key=batch.key,
                reads=reads,
                failures=failures,
                next_poll_at=due,
                error=error,
            )
        )
