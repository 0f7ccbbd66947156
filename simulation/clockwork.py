"""Running a story so that a seed decides everything: the order of tasks, chance, and the time."""

from __future__ import annotations

import gc
import heapq
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count

import attrs
import trio
from trio._core import _run as trio_run
from trio.testing import MockClock

from simulation.lives import LIFE, Life
from simulation.trace import Trace

MOST_STEPS = 300_000  # of a run; the longest take a tenth of that


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """Counts the scheduler's steps, and does things at some of them."""

    trace: Trace
    count_of: dict[str, int] = attrs.field(factory=dict)  # steps of each life, by name
    failure: BaseException | None = None  # of something that was to be done
    never_rests: Callable[[str], None] = attrs.field(default=lambda _: None)  # told which task was next
    _due: list[tuple[int, int, Callable[[], None]]] = attrs.field(factory=list)
    _of_life: dict[tuple[str, int], Callable[[], None]] = attrs.field(factory=dict)
    _numbers: Iterator[int] = attrs.field(factory=count)

    def after(self, steps: int, do: Callable[[], None]) -> None:
        """Call `do`, which must not wait, so many steps from now."""
        heapq.heappush(self._due, (self.trace.step + steps, next(self._numbers), do))

    def at_step_of(self, life: str, step: int, do: Callable[[], None]) -> None:
        """Call `do` before an instance takes that step of its own."""
        self._of_life[life, step] = do

    @property
    def never_taken(self) -> list[tuple[str, int]]:
        """The steps of instances at which something was to be done, and which have not been taken."""
        return list(self._of_life)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.trace.took_step(task.name)
        life = task.context.get(LIFE)
        if life is not None:
            self._count(life)
        while self._due and self._due[0][0] <= self.trace.step:
            self._do(heapq.heappop(self._due)[2])
        if self.trace.step == MOST_STEPS:
            self.never_rests(task.name)

    def _count(self, life: Life) -> None:
        taken = self.count_of.get(life.name, 0) + 1
        self.count_of[life.name] = taken
        if do := self._of_life.pop((life.name, taken), None):
            self._do(do)

    def _do(self, do: Callable[[], None]) -> None:
        # Trio would swallow an instrument's error, and drop the instrument.
        try:
            do()
        except Exception as error:
            self.failure = self.failure or error


def run(seed: int, story: Callable[[Steps], Awaitable[None]], trace: Trace) -> None:
    """Run a story to its end."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # the switch that Trio has for this
    trio_run._r.seed(seed)
    steps = Steps(trace)
    with _no_collection():
        trio.run(story, steps, clock=MockClock(autojump_threshold=0), instruments=[steps])
    if steps.failure is not None:
        raise steps.failure


@contextmanager
def _no_collection() -> Iterator[None]:
    """When garbage is collected depends on what the process did before; and it takes a tenth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(1)
