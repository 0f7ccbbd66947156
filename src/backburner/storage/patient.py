"""Asking the database on behalf of somebody else's code, which cannot help that it is away for a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import attrs
import sqlalchemy as sa
import structlog
import trio

from backburner.errors import StorageUnavailable
from backburner.storage.database import Database

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

AWAY = 1.0  # seconds between tries while the database is away


@attrs.frozen
class PatientDatabase:
    """As `Database`, but waits until it is back: our own fault is never the outcome of a tool or a handler.

    For how long is up to the caller, who cancels it. What is written has to bear being done twice.
    """

    database: Database

    async def read(self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        while True:
            try:
                return await self.database.read(work, *args, **kwargs)
            except StorageUnavailable as error:
                log.warning("read postponed", error=str(error), retry_seconds=AWAY)
            await trio.sleep(AWAY)

    async def write(self, work: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        while True:
            try:
                return await self.database.write(work, *args, **kwargs)
            except StorageUnavailable as error:
                log.warning("write postponed", error=str(error), retry_seconds=AWAY)
            await trio.sleep(AWAY)
