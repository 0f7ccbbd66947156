"""The submitter: planned provider batches go to the provider, and none of them twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

import attrs
import structlog
import trio

from backburner.actors.loops import Bell, finish_within
from backburner.actors.reconciler import Reconciler, problem_of
from backburner.clock import Clock
from backburner.errors import (
    LeadershipLost,
    ProviderError,
    ProviderPaused,
    ProviderUnavailable,
    StorageUnavailable,
    SubmissionRefused,
    SubmissionTooLarge,
    SubmissionUnknown,
)
from backburner.ids import Ids
from backburner.leadership import Mandate
from backburner.model import PlannedBatch, ProviderBatch
from backburner.polling import next_poll
from backburner.providers.base import BatchView, Provider, WireRequest
from backburner.splitting import ENVELOPE_BYTES
from backburner.states import BatchStatus
from backburner.storage import batches
from backburner.storage.database import Database
from backburner.storage.facts import ProviderState, set_provider
from backburner.storage.fence import fenced
from backburner.submission import Account, choose
from backburner.wire import wire_id

log = structlog.get_logger()

IDLE = 30.0  # seconds between looks at the database when nothing is planned; the bell rings sooner
AWAY = 1.0  # while the database is away
FINISH = 5.0  # seconds that a submission under way gets at shutdown, so that its outcome is known


@attrs.define(kw_only=True, eq=False)
class Submitter:
    """Submits one batch at a time, so that a lost answer leaves one question open, not many.

    Batches of unknown outcome are looked for in between: nothing else is created meanwhile, so that nothing of ours
    can be mistaken for one of them. Ends only by cancellation; raises LeadershipLost.
    """

    database: Database
    provider: Provider
    mandate: Mandate
    clock: Clock
    random: Random
    ids: Ids
    bell: Bell
    submitted: Callable[[], None]  # a batch can be polled
    ended: Callable[[], None]  # a job may have ended
    most_queued: int  # items that may wait at the provider
    settle: float  # seconds of looking in vain before a submission is made again
    interval: float  # seconds between polls
    account: Account = attrs.field(factory=Account)
    reconciler: Reconciler = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reconciler = Reconciler(
            database=self.database,
            provider=self.provider,
            mandate=self.mandate,
            clock=self.clock,
            ids=self.ids,
            settle=self.settle,
            interval=self.interval,
            attach=self.attach,
            resent=self.ended,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self._show_account()
        while True:
            await self.bell.heard(await self._turn())

    async def _turn(self) -> float:
        """Settle what is unknown, then submit one batch. Returns the seconds until there may be more to do."""
        try:
            await self.reconciler.run_once()
            if not self.account.is_open(self.clock.now()):
                return await self._until_next()
            chosen = await self._choose()
            if chosen is None:
                return await self._until_next()
            await finish_within(FINISH, partial(self._submit, chosen))
        except StorageUnavailable as error:
            log.warning("submission postponed", error=str(error))
            return AWAY
        return 0

    async def _until_next(self) -> float:
        waiting = (BatchStatus.PLANNED, *batches.UNSETTLED)
        due = await self.database.read(batches.next_poll_time, self.provider.name, waiting)
        times = [time for time in (due, self.account.retry_at) if time is not None]
        now = self.clock.now()
        future = [(time - now).total_seconds() for time in times if time > now]
        return min([IDLE, *future])

    async def _choose(self) -> int | None:
        candidates = await self.database.read(batches.submittable, now=self.clock.now())
        ours = [candidate for candidate in candidates if candidate.provider == self.provider.name]
        if not ours:
            return None
        queued = await self.database.read(batches.queued_items, self.provider.name)
        chosen = choose(ours, queued, most_queued=self.most_queued)
        return None if chosen is None else chosen.key

    # --- one submission ------------------------------------------------------------------------------------

    async def _submit(self, key: int) -> None:
        term = self.mandate.term
        batch = await self.database.write(
            fenced, term, batches.begin_attempt, key, epoch=term.epoch, now=self.clock.now()
        )
        if batch is None:
            return
        requests = await self.database.read(batches.requests_of_batch, key, partial(_wire_request, batch.nonce))
        options = await self.database.read(batches.provider_options, batch.job_key)
        try:
            view = await self._create(requests, options)
        except SubmissionTooLarge as error:
            await self._divide(batch, error)
        except SubmissionRefused as error:
            await self._reject(batch, error)
        except (ProviderUnavailable, ProviderPaused) as error:
            await self._postpone(batch, error)
        except SubmissionUnknown as error:
            log.warning("outcome of a submission is unknown", batch=batch.id, error=str(error))
            await self._fenced(batches.set_unknown, key, look_at=self.clock.now(), error=problem_of(error))
        else:
            await self.attach(batch, view)
            await self._succeeded()

    async def _create(self, requests: list[WireRequest], options: Mapping[str, str]) -> BatchView:
        try:
            self.mandate.check()
        except LeadershipLost as lost:
            raise ProviderUnavailable(str(lost)) from lost
        return await self.provider.submit(requests, options)

    async def attach(self, batch: ProviderBatch, view: BatchView) -> None:
        """The provider has the batch: it is polled from now on."""
        now = self.clock.now()
        await self._fenced(
            batches.attach,
            batch.key,
            provider_batch_id=view.provider_batch_id,
            status=view.status,
            response=view.raw,
            now=now,
            next_poll_at=next_poll(now, now, interval=self.interval, random=self.random),
        )
        log.info("batch submitted", batch=batch.id, provider_batch_id=view.provider_batch_id, items=batch.item_count)
        self.submitted()

    async def _postpone(self, batch: ProviderBatch, error: ProviderError) -> None:
        now = self.clock.now()
        until = self.account.failed(error, now, self.random)
        log.warning("submission turned away", batch=batch.id, error=str(error), provider_state=self.account.state)
        await self._fenced(batches.postpone, batch.key, until=until, error=problem_of(error), now=now, ids=self.ids)
        await self._show_account()
        self.ended()

    async def _reject(self, batch: ProviderBatch, error: SubmissionRefused) -> None:
        log.error("provider refused a batch", batch=batch.id, error=str(error))
        await self._fenced(batches.reject, batch.key, error=problem_of(error), now=self.clock.now(), ids=self.ids)
        self.ended()

    async def _divide(self, batch: ProviderBatch, error: SubmissionTooLarge) -> None:
        if batch.item_count < 2:
            await self._reject(batch, error)
            return
        sizes = await self.database.read(batches.sizes_of_batch, batch)
        middle = len(sizes) // 2
        second = PlannedBatch(
            id=self.ids.new("batch"),
            nonce=self.ids.nonce(),
            first=batch.first_index + middle,
            last=batch.last_index,
            byte_size=sum(sizes[middle:]) + ENVELOPE_BYTES * (len(sizes) - middle),
        )
        log.warning("batch too large for the provider, divided", batch=batch.id, items=batch.item_count)
        first_bytes = batch.byte_size - second.byte_size
        await self._fenced(batches.divide, batch.key, second, first_bytes=first_bytes, now=self.clock.now())

    async def _succeeded(self) -> None:
        if self.account.succeeded():
            await self._show_account()

    async def _show_account(self) -> None:
        state = ProviderState(
            name=self.provider.name,
            state=self.account.state,
            reason=self.account.reason,
            retry_at=self.account.retry_at,
        )
        await self._fenced(set_provider, state, now=self.clock.now())

    async def _fenced(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self.database.write(fenced, self.mandate.term, work, *args, **kwargs)


def _wire_request(nonce: str, index: int, params: str) -> WireRequest:
    return WireRequest(custom_id=wire_id(nonce, index), params=params.encode())
