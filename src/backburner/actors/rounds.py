"""Rounds: what follows from the answers that agents get, until nothing does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import attrs
import structlog
import trio

from backburner.actors.loops import Bell
from backburner.clock import Clock
from backburner.errors import StorageUnavailable
from backburner.ids import Ids
from backburner.leadership import Mandate
from backburner.storage import conversations, turns
from backburner.storage.database import Database
from backburner.storage.fence import fenced
from backburner.storage.turns import Ready

log = structlog.get_logger()

AWAY = 1.0  # seconds until the next try while the database is away
PAGE = 500  # answers decided in one transaction


@attrs.frozen(kw_only=True, eq=False)
class Rounds:
    """Decides answers, and plans the next round of the conversations that go on.

    Conversations of a job that become ready within `window` seconds share provider batches, so that one slow tool or
    chunk holds up nobody for longer. Ends only by cancellation; raises LeadershipLost.
    """

    database: Database
    mandate: Mandate
    clock: Clock
    ids: Ids
    bell: Bell
    tools_wanted: Callable[[], None]
    planned: Callable[[], None]  # there is something to submit
    ended: Callable[[], None]  # a job has ended
    window: float
    chunk_bytes: int
    idle: float  # seconds between looks at the database while no bell rings

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await self.bell.heard(await self._turn())

    async def _turn(self) -> float:
        """Decide what there is to decide, plan what is due. Returns the seconds until there may be more to do."""
        try:
            await self._decide()
            return await self._plan()
        except StorageUnavailable as error:
            log.warning("rounds postponed", error=str(error))
            return AWAY

    async def _decide(self) -> None:
        while True:
            decided = await self._fenced(conversations.decide_answers, limit=PAGE, now=self.clock.now(), ids=self.ids)
            if decided.tools:
                self.tools_wanted()
            if decided.ended:
                self.ended()
            if decided.answers < PAGE:
                return

    async def _plan(self) -> float:
        """Returns the seconds until more is due."""
        left = self.idle
        for ready in await self.database.read(turns.ready_jobs):
            due = self._due(ready)
            if due > self.clock.now():
                left = min(left, (due - self.clock.now()).total_seconds())
                continue
            planned = await self._fenced(
                turns.plan_round, ready.job_key, chunk_bytes=self.chunk_bytes, now=self.clock.now(), ids=self.ids
            )
            log.info("next round planned", job_key=ready.job_key, items=ready.count, batches=planned)
            self.planned()
        return left

    def _due(self, ready: Ready) -> datetime:
        return ready.since if ready.is_last else ready.since + timedelta(seconds=self.window)

    async def _fenced(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self.database.write(fenced, self.mandate.term, work, *args, **kwargs)
