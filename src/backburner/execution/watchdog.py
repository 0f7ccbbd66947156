"""Finds out who blocks the event loop, while it is blocked: a thread looks at what the loop's thread is doing."""

from __future__ import annotations

import resource
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import structlog
import trio

from backburner.execution.executors import CURRENT_WORK

log = structlog.get_logger()

BLOCKED = 0.5  # seconds of one step of one task after which the loop counts as blocked
LOOK = 0.1  # seconds between looks
FRAMES = 6  # shown


@attrs.define(eq=False)
class LoopWatch(trio.abc.Instrument):
    """Measures how long steps of tasks take, and names what takes too long, once for each step."""

    blocked_after: float = BLOCKED
    blocked: int = attrs.field(default=0, init=False)  #: steps that were too long
    last: str | None = attrs.field(default=None, init=False)  #: the handler or tool, or the task, that blocked it last
    stack: str = attrs.field(default="", init=False)  #: what it was at, innermost first
    _longest: float = attrs.field(default=0.0, init=False)
    _step: tuple[float, trio.lowlevel.Task] | None = attrs.field(default=None, init=False)
    _thread: int = attrs.field(factory=threading.get_ident, init=False)
    _stopped: threading.Event = attrs.field(factory=threading.Event, init=False)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._step = (time.perf_counter(), task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002  # Trio's signature
        if self._step is not None:
            self._longest = max(self._longest, time.perf_counter() - self._step[0])
            self._step = None

    def take_longest(self) -> float:
        """The longest step since this was asked last, in seconds: how late everything else could be."""
        longest, self._longest = self._longest, 0.0
        return longest

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the loop that runs in this thread."""
        trio.lowlevel.add_instrument(self)
        threading.Thread(target=self._watch, daemon=True, name="loop watch").start()
        try:
            yield
        finally:
            self._stopped.set()
            trio.lowlevel.remove_instrument(self)

    def _watch(self) -> None:
        reported = None
        while not self._stopped.wait(LOOK):
            step = self._step
            if step is None or step is reported or time.perf_counter() - step[0] < self.blocked_after:
                continue
            reported = step
            self._report(step)

    def _report(self, step: tuple[float, trio.lowlevel.Task]) -> None:
        began, task = step
        self.blocked += 1
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001  # the documented way
        stack = traceback.extract_stack(frame)[-FRAMES:] if frame else []
        self.stack = " < ".join(f"{entry.filename}:{entry.lineno} {entry.name}" for entry in reversed(stack))
        # Not the task's own name: of an object that is called it is the whole `repr`, settings included.
        self.last = task.context.get(CURRENT_WORK) or getattr(task.coro, "__qualname__", "a task")
        seconds = round(time.perf_counter() - began, 2)
        log.error("event loop is blocked", by=self.last, seconds=seconds, at=self.stack)


@attrs.define(eq=False)
class ProcessMeter:
    """CPU time and memory of this process."""

    _asked_at: float = attrs.field(factory=time.perf_counter, init=False)
    _cpu: float = attrs.field(factory=time.process_time, init=False)

    def take_cpu_share(self) -> float:
        """Of one core, since this was asked last."""
        at, cpu = time.perf_counter(), time.process_time()
        share = (cpu - self._cpu) / max(1e-6, at - self._asked_at)
        self._asked_at, self._cpu = at, cpu
        return round(share, 3)

    def memory_bytes(self) -> int:
        """What the process holds now; where the system does not say, the most it has held."""
        statm = Path("/proc/self/statm")
        if statm.exists():
            return int(statm.read_text().split()[1]) * resource.getpagesize()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
