"""A PostgreSQL session of its own for long waits, carried by trio-asyncio and cancellable at any moment."""

from __future__ import annotations

import asyncio  # noqa: TID251
from contextlib import aclosing
from typing import Any, Self

import psycopg
import trio_asyncio  # type: ignore[import-untyped]  # noqa: F401
from psycopg import sql, waiting
from psycopg.abc import RV, Params, PQGen
from psycopg.rows import TupleRow

from backburner.forks import hide_from_children

# trio-asyncio replaces this function of asyncio's when it is imported, psycopg binds it when *it* is. Whichever
# came first, psycopg has to see the loop that trio-asyncio runs.
waiting.get_running_loop = asyncio.get_running_loop  # type: ignore[attr-defined]


class Line(psycopg.AsyncConnection[TupleRow]):
    """One session. Autocommit, so that between two statements it holds no snapshot.

    Its coroutines are asyncio's. Cancelling one closes the session at once. The server frees what it held when it
    sees that, at the latest after the statement under way, which may still take effect.
    """

    patience: float | None = None

    @classmethod
    async def open(cls, conninfo: str, patience: float | None) -> Self:
        """`patience`: seconds that one answer may take before the session is given up."""
        line = await cls.connect(conninfo, autocommit=True, prepare_threshold=None)
        line.patience = patience
        hide_from_children(line)
        return line

    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """As psycopg's, with an end, and when it is cancelled without asking the server to cancel, which takes seconds
        over a dead link.
        """
        bound = self.patience if timeout is None else timeout
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=bound)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001  # its public base does not tell it apart
            if timeout is not None:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {bound:g} seconds") from error
        except Exception:
            raise
        except BaseException:
            self.pgconn.finish()
            raise

    async def row(self, statement: str, parameters: Params) -> tuple[Any, ...] | None:
        """The first row of the answer, if there is one."""
        cursor = await self.execute(statement, parameters)
        return await cursor.fetchone() if cursor.description else None

    async def listen(self, channel: str) -> None:
        await self.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))

    async def payloads(self, at_most: float) -> list[str]:
        """The notifications that come together, waiting up to `at_most` seconds for the first; [] when none came."""
        async with aclosing(self.notifies(timeout=at_most, stop_after=1)) as notifications:
            return [notification.payload async for notification in notifications]

    async def woken(self, at_most: float) -> bool:
        """Whether a notification came within `at_most` seconds."""
        return await self.payloads(at_most) != []

    def hang_up(self) -> None:
        """Close without waiting for anything; the server frees what it held when it sees it."""
        self.pgconn.finish()
