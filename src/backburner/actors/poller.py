"""One look at one provider batch, and what follows from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from random import Random
from typing import Any

import attrs
import structlog
import trio

from backburner.actors.account import AccountKeeper
from backburner.actors.denials import Denials
from backburner.actors.writer import Writes
from backburner.clock import Clock
from backburner.commands import BatchEnded, BatchLost, Polled, Unchanged
from backburner.cycle import Cycle
from backburner.errors import ProviderError, ProviderPaused, ProviderUnavailable, ResultsGone
from backburner.holds import UNRECOGNISED, problem, problem_of
from backburner.leadership import Mandate
from backburner.model import ProviderBatch
from backburner.polling import Quiet, after_denial, after_failure, next_poll
from backburner.providers.base import BatchRef, BatchView, Provider
from backburner.submission import is_about_options

log = structlog.get_logger()

GONE = "gone"  # the provider has said that it does not keep the batch any more


@attrs.frozen(kw_only=True, eq=False)
class Poller:
    """Looks at provider batches. Failures are the batch's own: recorded with it, retried by its own schedule."""

    provider: Provider
    writes: Writes
    mandate: Mandate
    clock: Clock
    random: Random
    limiter: trio.CapacityLimiter  # provider calls at once
    interval: float  # seconds; the longest time between two looks
    keeper: AccountKeeper
    denials: Denials
    quiet: Quiet = attrs.field(factory=Quiet)
    phase: float = attrs.field(init=False)  # seconds; see `next_poll`

    @phase.default
    def _any_phase(self) -> float:
        return self.random.uniform(0, self.interval)

    async def look(self, batch: ProviderBatch, view: BatchView | None, cycle: Cycle) -> bool:
        """Look once; `view` is what a listing showed already. True when the batch has ended and can be read.

        What was seen is durable when this returns, so that nothing is due that was just looked at. While the provider
        wants quiet nothing happens and the batch stays due.
        """
        try:
            view = await self._current(batch, view)
        except ProviderError as error:
            cycle.errors += 1
            return await self._failed(batch, error)
        if view is None:
            return False
        await self.keeper.poll_answered()
        if view.ended and (view.results_ready or view.results_gone):
            cycle.completed_count += 1
            await self._ended(batch, view.status, view)
            return True
        cycle.running_count += 1
        await self._goes_on(batch, view)
        return False

    def is_unchanged(self, batch: ProviderBatch, view: BatchView) -> bool:
        """Whether a listing shows a batch that goes on just as it was seen before, with nothing to be done about it."""
        settled = batch.poll_failures == 0 and batch.error is None and batch.job_stopping is None
        return settled and not view.ended and view.raw == batch.latest_polling_response

    async def passed(self, batches: Sequence[ProviderBatch], cycle: Cycle) -> None:
        """These are unchanged. With ten thousand open batches nearly all are, nearly always: no task for each."""
        now = self.clock.now()
        due: dict[datetime, list[int]] = defaultdict(list)
        for batch in batches:
            since = batch.cancel_sent_at or batch.submitted_at or now
            due[next_poll(since, now, interval=self.interval, phase=self.phase)].append(batch.key)
        await self.keeper.poll_answered()
        await self.writes.durable(Unchanged(term=self.mandate.term, polled_at=now, due=due))
        cycle.running_count += len(batches)

    async def _current(self, batch: ProviderBatch, view: BatchView | None) -> BatchView | None:
        """The batch as the provider sees it, told to cancel it if need be; None while the provider wants quiet.

        What may be somebody else's is never cancelled: it is looked at until it ends, and its results tell.
        """
        cancels = batch.job_stopping is not None and batch.is_recognised
        if view is not None and (not cancels or view.ended or view.canceling):
            return view
        async with self.limiter:  # never held while the writer is waited for
            self.mandate.check()
            if self.quiet.left(self.clock.monotonic()):
                return None
            if not cancels or batch.cancel_sent_at is not None:
                return await self.provider.retrieve(BatchRef.of(batch))
            return await self.provider.cancel(BatchRef.of(batch))

    async def _goes_on(self, batch: ProviderBatch, view: BatchView) -> None:
        now = self.clock.now()
        cancelled = now if view.canceling else batch.submitted_at
        since = batch.cancel_sent_at or cancelled or now
        changed = view.raw != batch.latest_polling_response
        await self.writes.durable(
            Polled(
                term=self.mandate.term,
                batch_key=batch.key,
                provider_status=view.status,
                response=view.raw if changed else None,
                polled_at=now,
                next_poll_at=next_poll(since, now, interval=self.interval, phase=self.phase),
                failures=0,
                created_at=view.created_at,
                error=self._unrecognised(batch, now),
                cancel_sent_at=now if view.canceling and batch.cancel_sent_at is None else None,
                knew_stopping=batch.job_stopping is not None,
            )
        )

    def _unrecognised(self, batch: ProviderBatch, now: datetime) -> dict[str, Any] | None:
        """Why a job that is being ended waits for a batch that is well."""
        if batch.job_stopping is None or batch.is_recognised:
            return None
        return problem(UNRECOGNISED, "The batch was found in a listing and may be another's.", batch.error, now)

    async def _failed(self, batch: ProviderBatch, error: ProviderError) -> bool:
        if isinstance(error, ResultsGone):
            await self._ended(batch, GONE, None)
            return True
        since = self.denials.since(batch, error)
        if since is not None and await self.denials.is_lost(batch, since):
            log.error("provider batch is lost", batch=batch.id, provider_batch_id=batch.provider_batch_id)
            await self.writes.durable(BatchLost(term=self.mandate.term, batch_key=batch.key, at=self.clock.now()))
            return False
        await self.mind(error, batch.options)
        log.warning("poll failed", batch=batch.id, error=str(error), failures=batch.poll_failures + 1)
        retry_after = error.retry_after if isinstance(error, ProviderUnavailable) else None
        await self._postpone(batch, problem_of(error, batch.error, self.clock.now()), retry_after, since)
        return False

    async def mind(self, error: ProviderError, options: Mapping[str, str]) -> None:
        """What one was told concerns the others too: a rate limit, or an account that does not work.

        Not what was said of a batch, or a listing, with options that others do not have.
        """
        if isinstance(error, ProviderUnavailable) and error.retry_after is not None:
            self.quiet.ask(error.retry_after, self.clock.monotonic(), longest=self.interval)
        if isinstance(error, ProviderPaused) and not is_about_options(error, options):
            self.quiet.ask(self.interval, self.clock.monotonic(), longest=self.interval)
            await self.keeper.poll_refused(error, options)

    async def broke(self, batch: ProviderBatch) -> None:
        """Looking at this batch failed in a way that nobody foresaw: it waits as after any failure."""
        await self._postpone(batch, {"code": "internal_error"}, None)

    async def _postpone(
        self,
        batch: ProviderBatch,
        reason: dict[str, Any],
        retry_after: float | None,
        not_found_since: datetime | None = None,
    ) -> None:
        now = self.clock.now()
        failures = batch.poll_failures + 1
        due = after_failure(failures, now, retry_after=retry_after, random=self.random)
        await self.writes.durable(
            Polled(
                term=self.mandate.term,
                batch_key=batch.key,
                provider_status=None,
                response=None,
                polled_at=now,
                next_poll_at=after_denial(due, not_found_since, now),
                failures=failures,
                error=reason,
                not_found_since=not_found_since,
                knew_stopping=batch.job_stopping is not None,
            )
        )

    async def _ended(self, batch: ProviderBatch, status: str, view: BatchView | None) -> None:
        now = self.clock.now()
        await self.writes.durable(
            BatchEnded(
                term=self.mandate.term,
                batch_key=batch.key,
                provider_status=status,
                response=b"" if view is None else view.raw,
                created_at=None if view is None else view.created_at,
                at=now,
                next_poll_at=now,
            )
        )
