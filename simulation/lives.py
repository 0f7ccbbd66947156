"""Instances that can be killed and frozen at any step of the scheduler, as a process is by a signal."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar

import attrs
import trio
from trio._core import _run as trio_run


@attrs.define(eq=False)
class Life:
    """One process: from its start until it is killed or goes home.

    While it is frozen, and for ever after it was killed, none of its tasks takes a step: no clean-up, no last word.
    """

    name: str
    is_over: bool = False
    is_frozen: bool = False
    ended: trio.Event = attrs.field(factory=trio.Event)  # killed, or gone home
    froze_at: float = float("-inf")
    thawed_at: float = float("-inf")
    _thawed: trio.Event = attrs.field(factory=trio.Event)
    _is_buried: bool = False
    _held: list[trio.lowlevel.Task] = attrs.field(factory=list)

    @property
    def is_still(self) -> bool:
        """Whether its tasks are kept from running."""
        return (self.is_over or self.is_frozen) and not self._is_buried

    def hold(self, task: trio.lowlevel.Task) -> None:
        """Keep a task that could go on."""
        self._held.append(task)

    def kill(self) -> None:
        """As SIGKILL does."""
        self.is_over = True
        self.ended.set()

    def freeze(self, now: float) -> None:
        """As SIGSTOP does."""
        if not self.is_over:
            self.is_frozen, self.froze_at, self._thawed = True, now, trio.Event()

    def thaw(self, now: float) -> None:
        """As SIGCONT does."""
        if self.is_frozen and not self.is_over:
            self.is_frozen, self.thawed_at = False, now
            self._thawed.set()
            self._release()

    def bury(self) -> None:
        """The run is over: let the tasks of a killed instance unwind. They still reach nothing."""
        self.is_over, self._is_buried = True, True
        self.ended.set()
        self._thawed.set()
        self._release()

    async def goes_on(self) -> None:
        """Return while it lives and is not frozen; a dead one never gets past here."""
        while self.is_frozen and not self.is_over:
            await self._thawed.wait()
        if self.is_over:
            await trio.sleep_forever()

    def _release(self) -> None:
        held, self._held = self._held, []
        trio_run.GLOBAL_RUN_CONTEXT.runner.runq.extend(held)


#: Whose task this is; None for what belongs to the world. Tasks inherit it.
LIFE: ContextVar[Life | None] = ContextVar("life", default=None)


class RunQueue(deque[trio.lowlevel.Task]):
    """Trio's queue of tasks that can run, without those of instances that stand still."""

    def append(self, task: trio.lowlevel.Task) -> None:
        life = task.context.get(LIFE)
        if life is not None and life.is_still:
            life.hold(task)
        else:
            super().append(task)


def install_run_queue() -> None:
    """Have the run that calls this obey `Life`."""
    runner = trio_run.GLOBAL_RUN_CONTEXT.runner
    runner.runq = RunQueue(runner.runq)
