"""The listener: hears on PostgreSQL what other instances have changed, and wakes whom it concerns here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, Protocol

import attrs
import structlog
import trio

from backburner.changes import Changes
from backburner.errors import StorageUnavailable
from backburner.storage.notifications import ALL, JOB, STEP_DOWN, WORK

log = structlog.get_logger()

AWAY = 1.0  # seconds until the next try while the database is away


class Feed(Protocol):
    """Notifications as they come. Both raise StorageUnavailable."""

    def listening(self) -> AbstractAsyncContextManager[None]:
        """What is committed from here on is heard."""
        ...

    async def next(self) -> list[str]:
        """The next payloads, at least one."""
        ...


@attrs.frozen(kw_only=True, eq=False)
class Listener:
    """Ends only by cancellation. Whenever it may have missed something, everybody is woken."""

    feed: Feed
    changes: Changes
    work: Callable[[], None]
    step_down: Callable[[int], object]  #: takes the epoch of the term that is to end

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        task_status.started()
        while True:
            try:
                async with self.feed.listening():
                    self.changes.all_changed()
                    self.work()
                    await self._hear()
            except StorageUnavailable as error:
                log.warning("notifications interrupted", error=str(error))
            await trio.sleep(AWAY)

    async def _hear(self) -> NoReturn:
        while True:
            payloads = await self.feed.next()
            if WORK in payloads:
                self.work()
            if ALL in payloads:
                self.changes.all_changed()
            for text in payloads:
                if text.startswith(STEP_DOWN):
                    self.step_down(int(text.removeprefix(STEP_DOWN)))
            self.changes.changed({text.removeprefix(JOB) for text in payloads if text.startswith(JOB)})
