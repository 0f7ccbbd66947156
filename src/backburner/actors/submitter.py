"""The submitter: planned provider batches go to the provider, and none of them twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import Any

import attrs
import structlog
import trio

from backburner.actors.account import AccountKeeper, TermWrites
from backburner.actors.loops import Bell, finish_within
from backburner.actors.reconciler import Reconciler
from backburner.clock import Clock
from backburner.division import WHOLE
from backburner.errors import (
    LeadershipLost,
    NotFound,
    ProviderError,
    ProviderPaused,
    ProviderUnavailable,
    StorageUnavailable,
    SubmissionInterrupted,
    SubmissionRefused,
    SubmissionTooLarge,
    SubmissionUnknown,
)
from backburner.holds import HoldCode, problem, problem_of
from backburner.ids import Ids
from backburner.leadership import Mandate
from backburner.model import ProviderBatch
from backburner.polling import next_poll
from backburner.providers.base import BatchView, Provider, WireRequest
from backburner.states import BatchStatus
from backburner.storage import batches, candidates, divisions, submissions
from backburner.storage.database import Database
from backburner.storage.facts import is_polling
from backburner.storage.fence import fenced
from backburner.submission import choose, is_about_options
from backburner.wire import wire_id

log = structlog.get_logger()

AWAY = 1.0  # while the database is away
FINISH = 5.0  # seconds that a submission under way gets at shutdown, so that its outcome is known


@attrs.define(kw_only=True, eq=False)
class Submitter:
    """Submits one batch at a time, so that a lost answer leaves one question open, not many.

    Batches of unknown outcome are looked for in between. For ten minutes none of the same size is created meanwhile, so
    that nothing of ours can be mistaken for one of them; after that only results tell which batch is whose. Ends only
    by cancellation; raises LeadershipLost.
    """

    database: Database
    provider: Provider
    mandate: Mandate
    clock: Clock
    random: Random
    ids: Ids
    bell: Bell
    idle: float  # seconds between looks at the database while no bell rings
    submitted: Callable[[], None]  # a batch can be polled
    ended: Callable[[], None]  # a job may have ended
    most_queued: int  # items that may wait at the provider
    settle: float  # seconds from the end of an attempt of unknown outcome before it is made again
    interval: float  # seconds between polls
    keeper: AccountKeeper
    reconciler: Reconciler = attrs.field(init=False)
    _write: TermWrites = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._write = self.keeper.write
        self.reconciler = Reconciler(
            database=self.database,
            provider=self.provider,
            mandate=self.mandate,
            clock=self.clock,
            ids=self.ids,
            settle=self.settle,
            interval=self.interval,
            adopt=self._adopt,
            resent=self.ended,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self.keeper.show()
        while True:
            await self.bell.heard(await self._turn())

    async def _turn(self) -> float:
        """Settle what is unknown, then submit one batch. Returns the seconds until there may be more to do."""
        try:
            await self.reconciler.run_once()
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
        now = self.clock.now()
        due = await self.database.read(batches.next_poll_time, self.provider.name, waiting, after=now)
        times = [time for time in (due, self.keeper.account.retry_at) if time is not None and time > now]
        return min([self.idle, *((time - now).total_seconds() for time in times)])

    async def _choose(self) -> int | None:
        if not await self.database.read(is_polling) or not await self.keeper.may_submit():
            return None
        waiting = await self.database.read(candidates.submittable, now=self.clock.now())
        ours = [candidate for candidate in waiting if candidate.provider == self.provider.name]
        if not ours:
            return None
        queued = await self.database.read(candidates.queued_items, self.provider.name)
        chosen = choose(ours, queued, most_queued=self.most_queued, rather_not=self.keeper.rather_not)
        return None if chosen is None else chosen.key

    # --- one submission ------------------------------------------------------------------------------------

    async def _submit(self, key: int) -> None:
        try:
            batch, requests, options = await self._load(key)
        except NotFound:  # deleted meanwhile
            return
        if batch.division.words is not None:
            await self._divided(divisions.go_on, batch)
            return
        if (until := self.keeper.held_until(options)) is not None:
            words = "The provider has refused another batch with these options."
            reason = problem(HoldCode.OPTIONS_REFUSED, words, batch.error, self.clock.now())
            await self._write(submissions.hold_back, key, until=until, error=reason)
            return
        term = self.mandate.term
        # Everything that can fail without consequences is behind us: from here on the outcome counts.
        started = await self.database.write(
            fenced,
            term,
            batches.begin_attempt,
            key,
            epoch=term.epoch,
            now=self.clock.now(),
            provider=self.provider.name,
        )
        if started is not None:
            await self._attempt(batch, requests, options)

    async def _load(self, key: int) -> tuple[ProviderBatch, list[WireRequest], Mapping[str, str]]:
        batch = await self.database.read(batches.get_batch, key)
        requests = await self.database.read(batches.requests_of_batch, batch, partial(_wire_request, batch.nonce))
        return batch, requests, batch.options

    async def _attempt(self, batch: ProviderBatch, requests: list[WireRequest], options: Mapping[str, str]) -> None:
        try:
            view = await self._create(requests, options)
        except SubmissionTooLarge as error:
            await self._divide(batch, error)
        except SubmissionRefused as error:
            await self._refuse(batch, error)
        except SubmissionInterrupted as error:
            await self._interrupted(batch, error)
        except (ProviderUnavailable, ProviderPaused) as error:
            await self._postpone(batch, error)
        except SubmissionUnknown as error:
            log.warning("outcome of a submission is unknown", batch=batch.id, error=str(error))
            self.reconciler.attempt_failed(batch.key)
            now = self.clock.now()
            reason = problem_of(error, batch.error, now)
            await self._write(submissions.set_unknown, batch.key, look_at=now, error=reason)
            self.keeper.turned_away(error, batch.organization_key)
            await self.keeper.show()
        else:
            await self._attach(batch, view, response=view.raw)

    async def _create(self, requests: list[WireRequest], options: Mapping[str, str]) -> BatchView:
        try:
            self.mandate.check()
            # An upload takes long, and whoever leads after us sends the batch again.
            return await self.provider.submit(requests, options, self.mandate.check)
        except LeadershipLost as lost:
            raise ProviderUnavailable(str(lost)) from lost

    async def _attach(self, batch: ProviderBatch, view: BatchView, *, response: bytes | None) -> None:
        """The provider has the batch: it is polled from now on."""
        now = self.clock.now()
        attached = await self._write(
            batches.attach,
            batch.key,
            provider_batch_id=view.provider_batch_id,
            status=view.status,
            response=response,
            created_at=view.created_at,
            now=now,
            next_poll_at=next_poll(now, now, interval=self.interval, phase=0),
        )
        log.info(
            "batch submitted",
            batch=batch.id,
            provider_batch_id=view.provider_batch_id,
            items=batch.item_count,
            attached=attached,
        )
        if batch.division != WHOLE:
            await self._write(divisions.wake, batch.key, now=now)
        self.submitted()
        await self.keeper.accepted(batch.options)

    async def _adopt(self, batch: ProviderBatch, view: BatchView) -> None:
        await self._attach(batch, view, response=None)

    async def _postpone(self, batch: ProviderBatch, error: ProviderError) -> None:
        now = self.clock.now()
        if is_about_options(error, batch.options):
            until = self.keeper.options_refused(error, batch.options)
            reason = problem(HoldCode.OPTIONS_REFUSED, str(error), batch.error, now)
        else:
            until = self.keeper.turned_away(error, batch.organization_key)
            reason = problem_of(error, batch.error, now)
        log.warning("submission turned away", batch=batch.id, error=str(error), until=str(until))
        await self._write(submissions.postpone, batch.key, until=until, error=reason, now=now, ids=self.ids)
        await self.keeper.show()
        self.ended()

    async def _refuse(self, batch: ProviderBatch, error: SubmissionRefused) -> None:
        step = await self._divided(divisions.refused, batch, error=problem_of(error, batch.error, self.clock.now()))
        log.error("provider refused a batch", batch=batch.id, error=str(error), items=batch.item_count, step=str(step))
        self.ended()

    async def _divide(self, batch: ProviderBatch, error: SubmissionTooLarge) -> None:
        if batch.item_count < 2:
            await self._refuse(batch, error)
            return
        log.warning("batch too large for the provider, divided", batch=batch.id, items=batch.item_count)
        await self._divided(divisions.divide, batch)
        self.ended()

    async def _interrupted(self, batch: ProviderBatch, error: SubmissionInterrupted) -> None:
        until = self.keeper.turned_away(error, batch.organization_key)
        log.warning("upload broke off", batch=batch.id, error=str(error), until=str(until))
        reason = problem_of(error, batch.error, self.clock.now())
        await self._divided(divisions.interrupted, batch, until=until, error=reason)
        await self.keeper.show()
        self.ended()

    async def _divided(self, work: Callable[..., Any], batch: ProviderBatch, **more: Any) -> Any:
        return await self._write(work, batch.key, **more, now=self.clock.now(), ids=self.ids)


def _wire_request(nonce: str, index: int, params: str) -> WireRequest:
    return WireRequest(custom_id=wire_id(nonce, index), params=params.encode())
