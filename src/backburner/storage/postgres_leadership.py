"""Leadership on PostgreSQL: a session's advisory lock, and a term recorded under it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import psycopg
import structlog
import trio
from trio_asyncio import aio_as_trio  # type: ignore[import-untyped]

from backburner.model import Term
from backburner.storage.leader_session import (
    CHECK,
    PATIENCE,
    POOLED,
    SessionFacts,
    leader_conninfo,
    lock_key,
    milliseconds,
    objection,
)
from backburner.storage.line import Line
from backburner.storage.sessions import first_line, is_refused

log = structlog.get_logger()

CHANNEL = "leader_wakeup"

#: Statements compared when a connection is new: a pooler may serve each on another backend.
CHECKS = 3

TRY_LOCK = "SELECT pg_try_advisory_lock(%(key)s::bigint)"

#: Waits for every fenced transaction of the old term that is under way, and cuts off the later ones.
NEW_TERM = """
WITH term AS (
    UPDATE leader_epoch SET epoch = epoch + 1, term_id = %(term_id)s, instance_id = %(instance_id)s,
           backend_pid = pg_backend_pid(), acquired_at = clock_timestamp()
     WHERE name = 'default' RETURNING epoch, term_id, instance_id, acquired_at
), ended AS (
    UPDATE leader_history SET ended_at = clock_timestamp(), reason = 'lost' WHERE ended_at IS NULL
), begun AS (
    INSERT INTO leader_history (epoch, term_id, instance_id, acquired_at) SELECT * FROM term
)
SELECT epoch FROM term
"""

#: In a row of its own: the fenced row is locked by every transaction of the term.
HEARTBEAT = """
UPDATE leader_heartbeat SET renewed_at = clock_timestamp(), epoch = %(epoch)s
 WHERE name = 'default'
   AND EXISTS (SELECT 1 FROM leader_epoch WHERE name = 'default' AND epoch = %(epoch)s AND term_id = %(term_id)s)
   AND EXISTS (SELECT 1 FROM pg_locks
                WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() AND objsubid = 1
                  AND ((classid::bigint << 32) | objid::bigint) = %(key)s::bigint)
RETURNING renewed_at
"""

END_TERM = """
UPDATE leader_history SET ended_at = clock_timestamp(), reason = %(reason)s
 WHERE term_id = %(term_id)s AND ended_at IS NULL
"""

UNLOCK = "SELECT pg_advisory_unlock_all(), pg_notify('leader_wakeup', '')"


class _RefusedError(Exception):
    """This session may not lead; the message says why."""


@attrs.define(kw_only=True, eq=False)
class PostgresLeadership:
    """The office on PostgreSQL 14 or later. See `leadership.Leadership` for what callers can rely on.

    Runs inside `async with trio_asyncio.open_loop()`, which has to outlive it. Holds one connection, as follower
    and as leader; whatever goes wrong with it closes it, and the next campaign makes a new one. A term never
    outlives its connection.
    """

    dsn: str  #: a libpq connection string or URL
    instance_id: str
    new_term_id: Callable[[], str]
    #: Seconds to wait for fenced transactions of the last term, at most.
    takeover_window: float = 10.0
    #: Seconds after which the server drops a leader that it has not heard of. Longer than trust.
    evict_after: float = 15.0

    _line: Line | None = attrs.field(default=None, init=False)
    _key: int = attrs.field(default=0, init=False)
    _refusal: str | None = attrs.field(default=None, init=False)

    @property
    def refusal(self) -> str | None:
        return self._refusal

    async def campaign(self) -> Term | None:
        try:
            # Also when cancelled: the server may have granted the lock by then, which must not outlive the attempt.
            with self._hanging_up_on_trouble():
                term = await self._try_once()
        except (psycopg.Error, _RefusedError) as error:
            self._note(first_line(error))
            return None
        self._note(None)
        return term

    async def heartbeat(self, term: Term) -> bool:
        try:
            with self._hanging_up_on_trouble():
                return await self._ask(HEARTBEAT, epoch=term.epoch, term_id=term.term_id, key=self._key) is not None
        except psycopg.Error as error:
            log.warning("leader connection lost", epoch=term.epoch, error=first_line(error))
            return False

    async def resign(self, term: Term, reason: str) -> None:
        """Takes as long as the server; cancelled, it drops the connection, which frees the lock too."""
        if self._line is None:
            return
        try:
            await self._ask(END_TERM, term_id=term.term_id, reason=reason)
            await self._ask(UNLOCK)
        except psycopg.Error as error:
            log.warning("leader could not say goodbye", epoch=term.epoch, error=first_line(error))
        finally:
            self._hang_up()

    async def chance(self, at_most: float) -> None:
        ends = trio.current_time() + at_most
        try:
            with self._hanging_up_on_trouble():
                quiet = self.evict_after / 3
                while ends - trio.current_time() > quiet:
                    if await self._woken(quiet):
                        return
                    await self._ask("SELECT 1")
                await self._woken(max(0.0, ends - trio.current_time()))
        except psycopg.Error as error:
            log.info("standby connection lost", error=first_line(error))
            await trio.sleep(max(0.0, ends - trio.current_time()))

    async def _try_once(self) -> Term | None:
        if self._line is None:
            await self._connect()
        answer = await self._ask(TRY_LOCK, key=self._key)
        return await self._new_term() if answer == (True,) else None

    async def _connect(self) -> None:
        conninfo = leader_conninfo(self.dsn, self.instance_id, self.evict_after)
        try:
            self._line = line = await aio_as_trio(Line.open)(conninfo, PATIENCE)
        except psycopg.OperationalError as error:
            raise _RefusedError(POOLED) if is_refused(error) else error from error
        answers = [await self._ask(CHECK) for _ in range(CHECKS)]
        facts = [SessionFacts(*answer) for answer in answers if answer is not None]
        reason = objection(facts, line.pgconn.backend_pid, milliseconds(self.evict_after))
        if reason is not None:
            raise _RefusedError(reason)
        self._key = lock_key(facts[0].schema or "")
        await aio_as_trio(line.listen)(CHANNEL)

    async def _new_term(self) -> Term:
        term_id = self.new_term_id()
        gives_up = trio.current_time() + self.takeover_window
        while True:
            try:
                answer = await self._ask(NEW_TERM, term_id=term_id, instance_id=self.instance_id)
            except psycopg.errors.LockNotAvailable:
                if trio.current_time() >= gives_up:
                    raise
                continue
            if answer is None:
                raise _RefusedError("the table leader_epoch has no row 'default'")
            return Term(epoch=answer[0], term_id=term_id, instance_id=self.instance_id)

    async def _woken(self, at_most: float) -> bool:
        """Whether somebody resigned within `at_most` seconds."""
        if self._line is None:
            await trio.sleep(at_most)
            return False
        return bool(await aio_as_trio(self._line.woken)(at_most))

    async def _ask(self, statement: str, **parameters: Any) -> tuple[Any, ...] | None:
        if self._line is None:
            raise psycopg.OperationalError("not connected")
        answer: tuple[Any, ...] | None = await aio_as_trio(self._line.row)(statement, parameters)
        return answer

    @contextmanager
    def _hanging_up_on_trouble(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.hang_up()
            self._line = None

    def _note(self, refusal: str | None) -> None:
        """Log a change only: a standby asks every second."""
        if refusal != self._refusal:
            log.warning("leadership refused", reason=refusal) if refusal else log.info("leadership possible again")
        self._refusal = refusal
