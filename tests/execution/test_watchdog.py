"""Who blocks the event loop is named while it does."""

from __future__ import annotations

import threading

import attrs
import trio
import trio.lowlevel

from backburner.execution.executors import Executors
from backburner.execution.watchdog import LoopWatch


@attrs.frozen
class Rude:
    """Blocks the loop until that has been noticed; what it holds is nobody's business."""

    watch: LoopWatch
    secret: str

    async def __call__(self) -> None:
        for _ in range(100):
            if self.watch.last is not None:
                return
            threading.Event().wait(0.05)


async def test_a_task_that_blocks_the_loop_is_named_without_what_it_holds():
    watch = LoopWatch(blocked_after=0.05)
    with watch.watching():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Rude(watch, "postgresql://me:hunter2@host"))
    assert watch.last == "Rude.__call__"


async def test_a_handler_that_blocks_the_loop_is_named_while_it_blocks():
    watch = LoopWatch(blocked_after=0.05)
    named = threading.Event()

    async def rude() -> str | None:
        for _ in range(100):  # until somebody has noticed
            if named.wait(0.05):
                return "noticed"
            if watch.last is not None:
                named.set()
        return None

    executors = Executors(is_inline=True)
    with watch.watching():
        async with executors.opened():
            await trio.lowlevel.checkpoint()
            assert await executors.call(rude, {}, executor="async", timeout_seconds=9, name="my-handler") == "noticed"
    assert watch.last == "my-handler"
    assert watch.take_longest() >= 0.05
    assert watch.blocked == 1
    assert " rude" in watch.stack
