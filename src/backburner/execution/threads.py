"""Plain functions in worker threads of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from typing import Any

import attrs
import structlog
import trio

from backburner.errors import WorkTimedOut
from backburner.execution.failures import Outcome, outcome_of
from backburner.execution.places import Places

log = structlog.get_logger()


@attrs.define(eq=False)
class _Run:
    """One call on its way."""

    name: str
    places: Places
    lock: Lock = attrs.field(factory=Lock)
    has_begun: bool = False
    has_ended: bool = False
    is_abandoned: bool = False

    def begin(self) -> bool:
        """Called in the thread, before anything else. Says whether somebody still waits for the function."""
        with self.lock:
            self.has_begun = not self.is_abandoned
            return self.has_begun

    def end(self) -> None:
        """Called in the thread, when the function is really over."""
        with self.lock:
            self.has_ended = True
            late = self.is_abandoned
        if late:
            self.places.abandon(-1)
            log.warning("abandoned thread ended", work=self.name)

    def abandon(self) -> None:
        """Nobody waits any more."""
        with self.lock:
            if self.has_ended:
                return
            self.is_abandoned = True
            if not self.has_begun:  # it waited for a thread, which would never end and take its count back
                return
        self.places.abandon()
        log.error("thread goes on although nobody waits for it", work=self.name)


@attrs.define(eq=False)
class Threads:
    """Runs functions in worker threads. A thread cannot be stopped: one that outlives its time is abandoned, counted,
    and keeps its place until it ends.
    """

    places: Places
    _limiter: trio.CapacityLimiter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._limiter = trio.CapacityLimiter(self.places.total)

    async def call(
        self, function: Callable[..., Any], arguments: Mapping[str, Any], *, timeout: float, name: str
    ) -> Outcome:
        """The time counts from when a thread is free. Raises WorkTimedOut; other outcomes are returned."""
        run = _Run(name, self.places)
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:
            begin = partial(token.run_sync_soon, _begin, scope, timeout)
            try:
                # Trio gives the limiter's token back when the thread ends, not when it is abandoned.
                return await trio.to_thread.run_sync(
                    self._in_thread, run, begin, function, arguments, abandon_on_cancel=True, limiter=self._limiter
                )
            finally:
                if scope.cancel_called or trio.current_effective_deadline() == float("-inf"):
                    run.abandon()
        raise WorkTimedOut(f"{name} took longer than {timeout:g} s.")

    def _in_thread(
        self, run: _Run, begin: Callable[[], None], function: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> Outcome:
        if not run.begin():
            raise WorkTimedOut(f"{run.name} was given up before it began.")  # nobody hears it
        with self.places.one():
            try:
                begin()
                return outcome_of(function, arguments)
            finally:
                run.end()


def _begin(scope: trio.CancelScope, timeout: float) -> None:
    scope.deadline = trio.current_time() + timeout


async def inline(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Outcome:
    """On the event loop, for virtual clocks, which would jump over a thread at work. Not bounded in time."""
    await trio.lowlevel.checkpoint()
    return outcome_of(function, arguments)
