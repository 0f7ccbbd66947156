"""What other instances say, and who hears it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from backburner.actors.listener import Listener
from backburner.changes import Changes
from backburner.storage.notifications import STEP_DOWN, WORK


@attrs.define
class FakeFeed:
    said: list[list[str]]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        yield

    async def next(self) -> list[str]:
        if not self.said:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return self.said.pop(0)


async def test_a_term_is_asked_to_end_by_its_epoch(autojump_clock, nursery):
    asked: list[int] = []
    rung: list[str] = []
    listener = Listener(
        feed=FakeFeed([[WORK], [f"{STEP_DOWN}7"], ["something of a newer version"]]),
        changes=Changes(),
        work=lambda: rung.append("work"),
        step_down=asked.append,
    )
    nursery.start_soon(listener.run)
    await trio.sleep(1)
    assert (asked, rung) == ([7], ["work", "work"])
