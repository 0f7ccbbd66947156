"""Leadership where one process has the database to itself: SQLite behind its file lock, or in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import structlog
import trio

from backburner.errors import StorageUnavailable
from backburner.model import Term

log = structlog.get_logger()


@attrs.define(kw_only=True, eq=False)
class LocalLeadership:
    """The office of a process that nobody competes with. Its terms are numbered and fenced all the same.

    See `leadership.Leadership` for what callers can rely on.
    """

    #: Records a new term and returns it.
    new_term: Callable[[], Awaitable[Term]]
    #: Records that a term has ended, and why.
    end_term: Callable[[Term, str], Awaitable[None]]

    _refusal: str | None = attrs.field(default=None, init=False)

    @property
    def refusal(self) -> str | None:
        return self._refusal

    async def campaign(self) -> Term | None:
        try:
            term = await self.new_term()
        except StorageUnavailable as error:
            self._note(str(error))
            return None
        self._note(None)
        return term

    async def heartbeat(self, term: Term) -> bool:  # noqa: ARG002
        """True: the process holds the file, so nobody can have made a newer term."""
        await trio.lowlevel.checkpoint()
        return True

    async def resign(self, term: Term, reason: str) -> None:
        try:
            await self.end_term(term, reason)
        except StorageUnavailable as error:
            log.warning("end of term not recorded", epoch=term.epoch, error=str(error))

    async def chance(self, at_most: float) -> None:
        await trio.sleep(at_most)

    def _note(self, refusal: str | None) -> None:
        if refusal is not None and refusal != self._refusal:
            log.warning("leadership refused", reason=refusal)
        self._refusal = refusal
