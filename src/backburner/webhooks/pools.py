"""Connections kept for the next webhook to the same receiver."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType

import attrs
import httpcore2

MAX_POOLS = 64


@attrs.frozen
class PoolPerReceiver:
    """One pool for each receiver called of late.

    A single pool for all would look at each of its connections for each request, several times: at 64 of them that
    costs more than the request.
    """

    make: Callable[[], httpcore2.AsyncConnectionPool]
    pools: OrderedDict[str, httpcore2.AsyncConnectionPool] = attrs.field(factory=OrderedDict, init=False)

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        await self._close_unused()
        key = str(request.url.origin)
        pool = self.pools.get(key) or self.make()
        self.pools[key] = pool
        self.pools.move_to_end(key)
        return await pool.handle_async_request(request)

    async def aclose(self) -> None:
        while self.pools:
            _, pool = self.pools.popitem()
            await pool.aclose()

    async def __aenter__(self) -> PoolPerReceiver:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _close_unused(self) -> None:
        excess = len(self.pools) + 1 - MAX_POOLS
        if excess <= 0:
            return
        # A pool has no connection that is not idle exactly when nobody is in the middle of a request to it.
        idle = [key for key, pool in self.pools.items() if all(one.is_idle() for one in pool.connections)]
        for pool in [self.pools.pop(key) for key in idle[:excess]]:
            await pool.aclose()
