"""`async def` functions: tasks of the event loop, in a nursery that outlives who waits for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import structlog
import trio

from backburner.errors import WorkTimedOut
from backburner.execution.failures import Outcome, outcome_of_async
from backburner.execution.places import Places

log = structlog.get_logger()

#: Seconds after which a cancelled task that still runs is given up.
PATIENCE = 5.0


@attrs.define(eq=False)
class _Run:
    """One call on its way."""

    name: str
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    outcome: Outcome | None = None
    is_abandoned: bool = False


@attrs.define(kw_only=True, eq=False)
class Tasks:
    """Runs coroutine functions. One that ignores its cancellation is abandoned, and counted until it ends."""

    places: Places
    patience: float = PATIENCE
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Calls can be made inside the block; what then still runs is cancelled."""
        async with trio.open_nursery() as self._nursery:
            try:
                yield
            finally:
                self._nursery.cancel_scope.cancel()

    async def call(
        self, function: Callable[..., Any], arguments: Mapping[str, Any], *, timeout: float, name: str
    ) -> Outcome:
        """Raises WorkTimedOut; other outcomes are returned."""
        assert self._nursery is not None, "not opened"  # noqa: S101
        run = _Run(name)
        self._nursery.start_soon(self._run, run, function, arguments)
        try:
            with trio.move_on_after(timeout):
                await run.ended.wait()
        finally:
            if not run.ended.is_set():
                await self._end(run)  # noqa: ASYNC102  # shielded and bounded there
        if run.outcome is None:
            raise WorkTimedOut(f"{name} took longer than {timeout:g} s.")
        return run.outcome

    async def _run(self, run: _Run, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        with self.places.one():
            try:
                with run.scope:
                    run.outcome = await outcome_of_async(function, arguments)
            finally:
                run.ended.set()
                if run.is_abandoned:
                    self.places.abandon(-1)
                    log.warning("abandoned task ended", work=run.name)

    async def _end(self, run: _Run) -> None:
        run.scope.cancel()
        with trio.move_on_after(self.patience, shield=True):
            await run.ended.wait()
        if not run.ended.is_set():
            run.is_abandoned = True
            self.places.abandon()
            log.error("task ignores its cancellation and is abandoned", work=run.name)
