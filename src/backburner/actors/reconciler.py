"""Finding out what became of a submission whose answer was lost, without ever paying twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import attrs
import structlog

from backburner.clock import Clock
from backburner.errors import (
    BatchNotFound,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    ResultsBroken,
    ResultsGone,
    WriteRefused,
)
from backburner.holds import problem_of
from backburner.ids import Ids
from backburner.leadership import Mandate
from backburner.model import ProviderBatch
from backburner.providers.base import BatchRef, BatchView, Provider
from backburner.result_lines import Unreadable, decode
from backburner.states import BatchStatus
from backburner.storage import batches, submissions
from backburner.storage.database import Database
from backburner.storage.fence import fenced
from backburner.submission import (
    AMBIGUOUS,
    LAST_MARGIN,
    MARGIN,
    Adopt,
    LookAgain,
    Quarantine,
    Resend,
    Verdict,
    holds_back,
    verdict,
)
from backburner.wire import wire_nonce

log = structlog.get_logger()

QUARANTINE_LOOKS = timedelta(hours=1)  # between looks at what a person has to settle; it may still become clear
NO_ANSWER = (BatchNotFound, ProviderUnavailable, ResultsBroken, ResultsGone)
IN_DOUBT = "listing_incomplete"


@attrs.define
class Search:
    """How long one submission has been looked for."""

    attempt_ended: float  # on the monotonic clock
    looks: int = 0  # in vain, at whole listings


@attrs.frozen(kw_only=True, eq=False)
class Reconciler:
    """Looks for the provider batches that submissions of unknown outcome may have made."""

    database: Database
    provider: Provider
    mandate: Mandate
    clock: Clock
    ids: Ids
    settle: float  # seconds from the end of an attempt before it is made again
    interval: float  # seconds between looks while several batches could be the one
    adopt: Callable[[ProviderBatch, BatchView], Awaitable[None]]
    resent: Callable[[], None]  # a batch is planned again, or its job has ended
    _term_began: float = attrs.field(init=False)  # on the monotonic clock
    _searches: dict[int, Search] = attrs.field(factory=dict, init=False)  # by key

    @_term_began.default
    def _now(self) -> float:
        return self.clock.monotonic()

    def attempt_failed(self, key: int) -> None:
        """An attempt of this term ended just now, and what it made is not known."""
        self._searches[key] = Search(self.clock.monotonic())

    async def run_once(self) -> None:
        """Look for every submission whose look is due. What the provider does not answer is looked for again.

        Must not be called while something is being submitted.
        """
        for key in await self.database.read(
            submissions.unsettled_submissions, self.provider.name, now=self.clock.now()
        ):
            try:
                await self._settle(await self.database.read(batches.get_batch, key))
            except NotFound:
                log.info("unsettled batch was deleted meanwhile", key=key)

    async def _settle(self, batch: ProviderBatch) -> None:
        if batch.key not in self._searches:
            # Of an earlier term's attempt nobody can say when it ended; but nobody of that term sends any more.
            is_new = batch.status is BatchStatus.SUBMITTING
            self._searches[batch.key] = Search(self.clock.monotonic() if is_new else self._term_began)
        try:
            await self._look_for(batch)
        except WriteRefused as error:  # an operator has just given to another what was found for this one
            log.warning("adoption refused", batch=batch.id, error=str(error))
            await self._look_again(batch, self.interval, {"code": "provider_batch_taken", "message": str(error)})
        except ProviderError as error:
            log.warning("looking for a submission failed", batch=batch.id, error=str(error))
            await self._look_failed(batch, error)

    async def _look_failed(self, batch: ProviderBatch, error: ProviderError) -> None:
        if batch.status is BatchStatus.QUARANTINED:  # this look has told nothing new
            await self._quarantine(batch, batch.error)
            return
        if error.code == IN_DOUBT and _age(batch, self.clock.now()) > AMBIGUOUS:
            await self._quarantine(batch, problem_of(error, batch.error, self.clock.now()))
            return
        seconds = min(self.interval, max(1.0, self.settle / 4))
        await self._look_again(batch, seconds, problem_of(error, batch.error, self.clock.now()))

    async def _look_for(self, batch: ProviderBatch) -> None:
        rivals = await self.database.read(submissions.rival_nonces, batch.key)
        now = self.clock.now()
        is_likely = not rivals and holds_back(batch.intent_at or now, now)
        decided, candidates = await self._decide(batch, rivals, MARGIN, is_likely=is_likely)
        if isinstance(decided, Resend):
            # The age is the difference of two clocks that may both be wrong. What is found so far back may well be
            # somebody else's: only its results can say that it is ours.
            decided, candidates = await self._decide(batch, rivals, LAST_MARGIN, is_likely=False)
        if isinstance(decided, Resend) and await self.database.read(submissions.may_be_taken, batch.key):
            decided = LookAgain(self.interval)
        await self._carry_out(batch, decided, candidates)

    async def _decide(
        self, batch: ProviderBatch, rivals: frozenset[str], margin: float, *, is_likely: bool
    ) -> tuple[Verdict, list[BatchView]]:
        """What to do, and on which evidence. `is_likely`: a single candidate is taken for ours unread."""
        candidates, recognised = await self._candidates(batch, rivals, margin, is_likely=is_likely)
        search = self._searches[batch.key]
        search.looks += not candidates
        decided = verdict(
            candidates,
            since_attempt=self.clock.monotonic() - search.attempt_ended,
            looks=search.looks,
            age=_age(batch, self.clock.now()),
            settle=self.settle,
            interval=self.interval,
            certain=recognised or is_likely,
        )
        return decided, candidates

    async def _carry_out(self, batch: ProviderBatch, decided: Verdict, candidates: list[BatchView]) -> None:
        now = self.clock.now()
        match decided:
            case Adopt(view):
                log.warning("submission adopted", batch=batch.id, provider_batch_id=view.provider_batch_id)
                await self.adopt(batch, view)
            case Resend():
                log.warning("submission was never made, planned again", batch=batch.id)
                await self._fenced(submissions.postpone, batch.key, until=now, error=None, now=now, ids=self.ids)
                self.resent()
            case Quarantine():
                found = [view.provider_batch_id for view in candidates]
                await self._quarantine(batch, {"code": "ambiguous", "candidates": found})
            case LookAgain(seconds):
                await self._look_again(batch, seconds, {"code": "submission_unknown", "candidates": len(candidates)})
                return
        self._searches.pop(batch.key, None)

    async def _quarantine(self, batch: ProviderBatch, error: dict[str, Any]) -> None:
        log.error("submission quarantined; see `backburner doctor`", batch=batch.id)
        look_at = self.clock.now() + QUARANTINE_LOOKS
        await self._fenced(submissions.quarantine, batch.key, error=error, look_at=look_at)

    async def _look_again(self, batch: ProviderBatch, seconds: float, error: dict[str, Any]) -> None:
        look_at = self.clock.now() + timedelta(seconds=seconds)
        await self._fenced(submissions.set_unknown, batch.key, look_at=look_at, error=error)

    async def _candidates(
        self, batch: ProviderBatch, rivals: frozenset[str], margin: float, *, is_likely: bool
    ) -> tuple[list[BatchView], bool]:
        """What it may be, and whether that was recognised by its results."""
        self.mandate.check()
        age = _age(batch, self.clock.now()).total_seconds()
        found = await self.provider.find(
            batch.options, item_count=batch.item_count, within=age + margin, sieve=partial(self._not_known, batch)
        )
        candidates = found.batches
        recognised = False
        if len(candidates) > 1 or (candidates and not is_likely):
            candidates, recognised = await self._by_results(batch, candidates, rivals)
        if not candidates and found.doubt is not None:
            # To find nothing would be taken as leave to submit again.
            raise ProviderUnavailable(found.doubt, code=IN_DOUBT)
        return candidates, recognised

    async def _not_known(self, batch: ProviderBatch, views: Sequence[BatchView]) -> list[BatchView]:
        names = [view.provider_batch_id for view in views]
        known = await self.database.read(submissions.not_candidates, batch.key, names)
        return [view for view in views if view.provider_batch_id not in known]

    async def _by_results(
        self, batch: ProviderBatch, candidates: list[BatchView], rivals: frozenset[str]
    ) -> tuple[list[BatchView], bool]:
        """The one whose results are ours; else those whose results cannot be read yet."""
        possible: list[BatchView] = []
        for view in candidates:
            ours = await self._is_ours(batch, view, rivals) if view.results_ready else None
            if ours:
                return [view], True
            if ours is None:
                possible.append(view)
        wrong = {view.provider_batch_id for view in candidates} - {view.provider_batch_id for view in possible}
        if wrong:
            await self._fenced(submissions.rule_out, batch.key, wrong, look_at=self.clock.now())
        return possible, False

    async def _is_ours(self, batch: ProviderBatch, view: BatchView, rivals: frozenset[str]) -> bool | None:
        """Whether the results carry the batch's nonce; None when that cannot be read now.

        A single line is enough to say yes, or that it is a rival's. Else only all of them can say no.
        """
        others = 0
        try:
            async with self.provider.results(BatchRef(view.provider_batch_id, batch.options)) as results:
                while lines := await results.next_lines():
                    for nonce in map(_nonce_of, lines):
                        if nonce == batch.nonce or nonce in rivals:
                            return nonce == batch.nonce
                    others += len(lines)
        except NO_ANSWER:
            return None
        return False if others >= batch.item_count else None

    async def _fenced(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self.database.write(fenced, self.mandate.term, work, *args, **kwargs)


def _age(batch: ProviderBatch, now: datetime) -> timedelta:
    # The intent may have been recorded by an instance whose clock is ahead of ours.
    return max(timedelta(), now - (batch.intent_at or now))


def _nonce_of(line: bytes) -> str | None:
    try:
        return wire_nonce(decode(line).custom_id)
    except Unreadable:
        return None
