"""The leader actor: follows until it wins the office, then does the duties for as long as the term is trusted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from random import Random

import attrs
import structlog
import trio

from backburner.clock import Clock
from backburner.errors import LeadershipLost, StorageUnavailable
from backburner.leadership import Leadership, Mandate
from backburner.model import Term

log = structlog.get_logger()

#: Seconds that giving back the office may take; after that the connection is dropped, which also frees the lock.
RESIGN_TIMEOUT = 3.0


@attrs.define(kw_only=True, eq=False)
class Office:
    """One term, from the moment it is won until it is given back."""

    mandate: Mandate
    acquired_at: datetime
    #: Everything that only a leader does; its deadline is the end of trust.
    trust: trio.CancelScope
    #: Why it is to end, once that is asked for.
    ending: str | None = None

    @property
    def reason(self) -> str:
        """Why it ended, for the history."""
        return self.ending or ("not confirmed in time" if self.trust.cancelled_caught else "cancelled")

    def lapse(self, reason: str) -> None:
        """End the term now, with everything in it."""
        self.ending = reason
        self.mandate.end()
        self.trust.cancel(reason=reason)


async def no_objection() -> str | None:
    """For an instance that may always lead."""
    await trio.lowlevel.checkpoint()
    return None


@attrs.define(kw_only=True, eq=False)
class Leader:
    """Campaigns, leads, and campaigns again. Ends after `retire()` and `release()`.

    While `objection` says why this instance must not lead, it does not: it is asked at the begin of a term, and with
    each heartbeat.
    `duties` are called once a term, and cancelled when it ends. Raising `LeadershipLost` they end the term; when
    they return, the office is kept with nothing to do; whatever else they raise ends the actor.
    Must hold: heartbeat_interval < trust < the time after which the database evicts a silent leader.
    """

    leadership: Leadership
    duties: Callable[[Mandate], Awaitable[None]]
    clock: Clock
    random: Random
    objection: Callable[[], Awaitable[str | None]] = no_objection
    retry_interval: float = 1.0  #: seconds between campaigns, give or take a half
    heartbeat_interval: float = 3.0
    trust: float = 10.0  #: seconds a term is trusted after the start of the last good heartbeat
    step_down_pause: float = 10.0  #: seconds that others get after `step_down()`
    drain_grace: float = 30.0  #: seconds the office is kept for `release()` after the duties have ended

    _office: Office | None = attrs.field(default=None, init=False)
    #: What a request to stop or step down interrupts: following, or the duties.
    _interruptible: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _pause: float = attrs.field(default=0.0, init=False)
    _objection: str | None = attrs.field(default=None, init=False)
    _retiring: bool = attrs.field(default=False, init=False)
    _idle: trio.Event = attrs.field(factory=trio.Event, init=False)
    _released: trio.Event = attrs.field(factory=trio.Event, init=False)
    tried: trio.Event = attrs.field(factory=trio.Event, init=False)  #: set once the first campaign is won or lost

    @property
    def is_leader(self) -> bool:
        """Whether this instance holds the office and still trusts its term."""
        return self._office is not None and self._office.mandate.trusted

    @property
    def term(self) -> Term | None:
        return self._office.mandate.term if self._office else None

    @property
    def acquired_at(self) -> datetime | None:
        return self._office.acquired_at if self._office else None

    @property
    def refusal(self) -> str | None:
        """Why this instance cannot lead, if it cannot."""
        return self._objection or self.leadership.refusal

    def step_down(self) -> bool:
        """Give the office to somebody else, if this instance has it. Returns at once; says whether it had."""
        if self._office is None or self._retiring:
            return False
        self._office.ending = "asked to step down"
        self._pause = self.step_down_pause
        self._interruptible.cancel(reason="asked to step down")
        return True

    async def retire(self) -> None:
        """Stop for good. Returns when no duty runs any more.

        The office, if held, is kept and confirmed until `release()`, so that what the duties sent can be written.
        """
        self._retiring = True
        self._interruptible.cancel(reason="shutting down")
        await self._idle.wait()

    def release(self) -> None:
        """What the duties sent is written: give back the office."""
        self._released.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Cancelled instead of retired, it cancels the duties and still gives back the office."""
        task_status.started()
        try:
            while not self._retiring:
                term = await self._follow()
                if term is not None:
                    await self._hold(term)
        finally:
            self._idle.set()

    async def _follow(self) -> Term | None:
        """The term that was won; None when interrupted."""
        term = None
        with trio.CancelScope() as self._interruptible:
            await trio.sleep(self._pause)
            while term is None:
                # Asked again only after it was raised: a campaign is not to wait for an answer.
                if self._objection is None or await self._may_lead():
                    term = await self.leadership.campaign()
                if term is None:
                    self.tried.set()
                    await self.leadership.chance(self.retry_interval * self.random.uniform(0.5, 1.5))
        self._pause = self.retry_interval * self.random.uniform(0.5, 1.5)
        return term

    async def _hold(self, term: Term) -> None:
        office = self._take_office(term)
        self.tried.set()
        log.info("leader elected", epoch=term.epoch, term_id=term.term_id)
        try:
            with office.trust:
                await self._lead(office)
        finally:
            office.mandate.end()
            self._office = None
            log.info("leader stepping down", epoch=term.epoch, reason=office.reason)
            with trio.move_on_after(RESIGN_TIMEOUT, shield=True):
                await self.leadership.resign(term, office.reason)

    def _take_office(self, term: Term) -> Office:
        self._office = Office(
            mandate=Mandate(term=term, clock=self.clock, trusted_until=self.clock.monotonic() + self.trust),
            acquired_at=self.clock.now(),
            trust=trio.CancelScope(deadline=trio.current_time() + self.trust),
        )
        return self._office

    async def _lead(self, office: Office) -> None:
        # Winning may have taken long, so a term begins with a heartbeat: trust is counted from its start.
        if not (await self._confirm(office) and await self._is_fit(office)):
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_trust, office)
            nursery.start_soon(self._keep_fit, office)
            await self._do_duties(office)
            await self._await_release(office)
            nursery.cancel_scope.cancel()

    async def _keep_trust(self, office: Office) -> None:
        confirmed = True
        while confirmed:
            await trio.sleep(self.heartbeat_interval)
            confirmed = await self._confirm(office)

    async def _confirm(self, office: Office) -> bool:
        # Taken before the round trip, so that a slow answer cannot stretch trust.
        asked, asked_at = trio.current_time(), self.clock.monotonic()
        if not office.mandate.trusted:
            office.lapse("the host was suspended")
        elif not await self.leadership.heartbeat(office.mandate.term):
            office.lapse("heartbeat refused")
        else:
            office.trust.deadline = asked + self.trust
            office.mandate.extend(asked_at + self.trust)
        return office.mandate.trusted

    async def _keep_fit(self, office: Office) -> None:
        # Apart from the heartbeat: trust does not wait for this answer.
        fit = True
        while fit:
            await trio.sleep(self.heartbeat_interval)
            fit = await self._is_fit(office)

    async def _is_fit(self, office: Office) -> bool:
        if not await self._may_lead():
            office.lapse(self._objection or "unfit")
        return office.mandate.trusted

    async def _may_lead(self) -> bool:
        """Whether there is no objection. What cannot be asked now stays as it was."""
        try:
            found = await self.objection()
        except StorageUnavailable:
            return self._objection is None
        if found != self._objection:
            log.error("this instance leads no more", reason=found) if found else log.info("leadership possible again")
        self._objection = found
        return found is None

    async def _do_duties(self, office: Office) -> None:
        """Returns when interrupted, or when a fenced write found the term over."""
        with trio.CancelScope() as self._interruptible:
            if self._retiring or office.ending is not None:
                return
            try:
                await self.duties(office.mandate)
                await trio.sleep_forever()
            except* LeadershipLost:
                office.lapse("a duty found the term over")

    async def _await_release(self, office: Office) -> None:
        if self._retiring:
            office.ending = office.ending or "shut down"
            self._idle.set()
            with trio.move_on_after(self.drain_grace):
                await self._released.wait()
