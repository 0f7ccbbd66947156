"""Notifications from PostgreSQL, over a connection of their own that trio-asyncio carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import psycopg
import structlog
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from trio_asyncio import aio_as_trio  # type: ignore[import-untyped]

from backburner.errors import StorageUnavailable
from backburner.storage.line import Line
from backburner.storage.notifications import ALL, CHANNEL, WORK
from backburner.storage.sessions import LISTENING, LOOK, first_line, is_pooled, is_refused

log = structlog.get_logger()

QUIET = 30.0  # seconds without a notification after which the connection is tried
#: Seconds between two announcements of "anything may have changed" where notifications do not come through.
POLL = 2.0


@attrs.define(eq=False)
class NotificationFeed:
    """Runs inside `async with trio_asyncio.open_loop()`. One listener at a time.

    Behind a transaction pooler, which takes LISTEN and delivers nothing, it says every few seconds that anything may
    have changed.
    """

    dsn: str
    _line: Line | None = attrs.field(default=None, init=False)
    _told: bool = attrs.field(default=False, init=False)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """What is committed from here on is heard. Raises StorageUnavailable, also when the connection breaks later."""
        line = await self._call(self._opened)
        try:
            self._line = line
            if line is not None:
                await self._call(line.listen, CHANNEL)
            yield
        finally:
            if line is not None:
                line.hang_up()

    async def next(self) -> list[str]:
        """The next payloads, at least one."""
        if self._line is None:
            await trio.sleep(POLL)
            return [WORK, ALL]
        while True:
            payloads: list[str] = await self._call(self._line.payloads, QUIET)
            if payloads:
                return payloads
            await self._call(self._line.row, "SELECT 1", ())

    async def _opened(self) -> Line | None:
        """A session of our own; None where a pooler is in between. Runs as a task of asyncio's."""
        line = await self._direct()
        if line is None and not self._told:
            log.warning("changes of other instances are polled", seconds=POLL, reason="a transaction pooler")
            self._told = True
        return line

    async def _direct(self) -> Line | None:
        conninfo = make_conninfo("", **LISTENING.parameters(conninfo_to_dict(self.dsn)))
        try:
            line = await Line.open(conninfo, LISTENING.patience)
        except psycopg.OperationalError as error:
            if is_refused(error):
                return None
            raise
        try:
            if not is_pooled(line.pgconn.backend_pid, await line.row(LOOK, ())):
                return line
        except BaseException:
            line.hang_up()
            raise
        line.hang_up()
        return None

    async def _call(self, function: Any, *args: Any) -> Any:
        try:
            return await aio_as_trio(function)(*args)
        except psycopg.Error as error:
            raise StorageUnavailable(f"PostgreSQL: {first_line(error)}") from error
