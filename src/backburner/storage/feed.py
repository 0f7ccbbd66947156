"""Notifications from PostgreSQL, over a connection of their own that trio-asyncio carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import psycopg
from psycopg.conninfo import make_conninfo
from trio_asyncio import aio_as_trio  # type: ignore[import-untyped]

from backburner.errors import StorageUnavailable
from backburner.storage.leader_session import LINK
from backburner.storage.line import Line
from backburner.storage.notifications import CHANNEL

QUIET = 30.0  # seconds without a notification after which the connection is tried


@attrs.define(eq=False)
class NotificationFeed:
    """Runs inside `async with trio_asyncio.open_loop()`. One listener at a time."""

    dsn: str
    _line: Line | None = attrs.field(default=None, init=False)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """What is committed from here on is heard. Raises StorageUnavailable, also when the connection breaks later."""
        conninfo = make_conninfo(self.dsn, **(LINK | {"application_name": "backburner-listener"}))
        line = None
        try:
            self._line = line = await self._call(Line.open, conninfo)
            await self._call(line.listen, CHANNEL)
            yield
        finally:
            if line is not None:
                line.hang_up()

    async def next(self) -> list[str]:
        """The next payloads, at least one."""
        assert self._line is not None  # noqa: S101  # the caller is inside `listening`
        while True:
            payloads: list[str] = await self._call(self._line.payloads, QUIET)
            if payloads:
                return payloads
            await self._call(self._line.row, "SELECT 1", ())

    async def _call(self, function: Any, *args: Any) -> Any:
        try:
            return await aio_as_trio(function)(*args)
        except psycopg.Error as error:
            raise StorageUnavailable(f"PostgreSQL: {str(error).partition(chr(10))[0]}") from error
