"""Tool calls that were begun in a transaction whose commit nobody heard of."""

from __future__ import annotations

from tests.test_agents import ADDS, LOOKS, Bench, calls, end_of, submitted
from tests.world import open_world

from backburner.actors.tool_caller import ToolCaller
from backburner.errors import StorageUnavailable
from backburner.states import JobStatus


async def test_their_conversation_goes_on_in_the_same_term(autojump_clock, monkeypatch):
    """What may run again runs; of the other the model is told that its outcome is unknown."""
    fenced, unconfirmed = ToolCaller._fenced, [True]

    async def without_word(self, begin):
        begun = await fenced(self, begin)
        if begun and unconfirmed:
            unconfirmed.clear()
            raise StorageUnavailable("the answer to COMMIT was lost")
        return begun

    monkeypatch.setattr(ToolCaller, "_fenced", without_word)
    async with open_world() as world:
        world.run_tool = bench = Bench()
        ended = await end_of(world, await submitted(world, f"{ADDS} {LOOKS}"))
        assert ended.status is JobStatus.COMPLETED
        (add, look) = await calls(world)
        assert (add[0], add[1], add[3]) == ("add", "finished", True)
        assert look == ("look", "finished", "3", False)
        assert sum(bench.begun.values()) == 1
