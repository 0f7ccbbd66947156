"""The office, as PostgreSQL's advisory lock gives it: lost by a session that dies, or is silent for too long."""

from __future__ import annotations

import attrs
import sqlalchemy as sa
import trio

from backburner.clock import Clock
from backburner.errors import StorageUnavailable
from backburner.ids import Ids
from backburner.leadership import Leadership
from backburner.model import Term
from backburner.storage import fence
from backburner.storage.database import Database
from backburner.storage.tables import leader_epoch
from simulation.lives import Life

EVICT_AFTER = 15.0  # seconds of silence, as `idle_session_timeout`


@attrs.define(eq=False)
class Session:
    """A connection that holds the lock, or did."""

    life: Life
    active_at: float


@attrs.define(eq=False)
class Office:
    """The lock in the database server."""

    evict_after: float = EVICT_AFTER
    #: When the last good heartbeat of an instance was begun, by its name.
    confirmed_at: dict[str, float] = attrs.field(factory=dict)
    _session: Session | None = None
    _freed: trio.Event = attrs.field(factory=trio.Event)

    def holder(self) -> Session | None:
        """Who has it: nobody whose process is dead, or who was silent for too long."""
        session = self._session
        if session is not None and not self._is_good(session):
            self.free(session)
        return self._session

    def _is_good(self, session: Session) -> bool:
        return not session.life.is_over and trio.current_time() - session.active_at <= self.evict_after

    def take(self, life: Life) -> Session | None:
        """Try the lock."""
        if self.holder() is not None:
            return None
        self._session = Session(life, trio.current_time())
        return self._session

    def free(self, session: Session) -> None:
        """The session is gone; nobody is told."""
        if self._session is session:
            self._session = None

    def announce(self) -> None:
        """Who gave up its office says so."""
        self._freed.set()
        self._freed = trio.Event()

    async def freed(self, at_most: float) -> None:
        """Wait until a session says that it goes, or so many seconds."""
        with trio.move_on_after(at_most):
            await self._freed.wait()


@attrs.define(kw_only=True, eq=False)
class SimulatedLeadership(Leadership):
    """One instance's way to the office."""

    office: Office
    life: Life
    database: Database
    clock: Clock
    ids: Ids
    _session: Session | None = attrs.field(default=None, init=False)

    @property
    def refusal(self) -> str | None:
        return None

    async def campaign(self) -> Term | None:
        await trio.lowlevel.checkpoint()
        await self.life.goes_on()
        self._session = session = self.office.take(self.life)
        if session is None:
            return None
        try:
            return await self.database.write(self._begin_term, session)
        except (StorageUnavailable, trio.Cancelled) as trouble:
            self.office.free(session)
            if isinstance(trouble, trio.Cancelled):
                raise
            return None
        finally:
            self._touched(session)

    def _begin_term(self, tx: sa.Connection, session: Session) -> Term:
        if self.office.holder() is not session:  # terms begin on the connection that has the lock
            raise StorageUnavailable("the simulated connection was terminated")
        return fence.begin_term(tx, term_id=str(self.ids.uuid7()), instance_id=self.life.name, now=self.clock.now())

    async def heartbeat(self, term: Term) -> bool:
        """As the real one: whatever goes wrong with the session ends it."""
        session, begun_at = self._session, trio.current_time()
        await self.life.goes_on()
        if session is None or self.office.holder() is not session:
            return False
        session.active_at = trio.current_time()
        try:
            current = await self.database.read(_is_current, term)
        except StorageUnavailable:
            current = False
        if not current:
            self.office.free(session)
        self._touched(session)
        is_good = current and self.office.holder() is session
        if is_good:
            self.office.confirmed_at[self.life.name] = begun_at
        return is_good

    async def resign(self, term: Term, reason: str) -> None:
        try:
            await self.database.write(fence.end_term, term, now=self.clock.now(), reason=reason)
        except StorageUnavailable:
            return
        else:
            self.office.announce()
        finally:
            if self._session is not None:
                self.office.free(self._session)
                self._session = None

    async def chance(self, at_most: float) -> None:
        await self.office.freed(at_most)

    def _touched(self, session: Session) -> None:
        if self.office.holder() is session:
            session.active_at = trio.current_time()


_CURRENT = sa.select(leader_epoch.c.epoch, leader_epoch.c.term_id)


def _is_current(tx: sa.Connection, term: Term) -> bool:
    row = tx.execute(_CURRENT).one()
    return (row.epoch, row.term_id) == (term.epoch, term.term_id)
