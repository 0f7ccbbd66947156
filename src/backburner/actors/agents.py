"""What leads the conversations of agents during a term."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import trio

from backburner.actors.loops import Bell
from backburner.actors.rounds import Rounds
from backburner.actors.tool_caller import RunTool, ToolCaller
from backburner.actors.writer import Writes
from backburner.clock import Clock
from backburner.ids import Ids
from backburner.leadership import Mandate
from backburner.pace import Pace
from backburner.storage.database import Database


@attrs.frozen(kw_only=True, eq=False)
class Agents:
    """Rounds, and the tool calls between them. Ends only by cancellation; raises LeadershipLost."""

    rounds: Rounds
    caller: ToolCaller

    @classmethod
    def wired(
        cls,
        *,
        database: Database,
        writes: Writes,
        mandate: Mandate,
        clock: Clock,
        ids: Ids,
        bells: Mapping[str, Bell],
        run_tool: RunTool,
        pace: Pace,
        ended: Callable[[], None],
    ) -> Agents:
        """Both, each woken by the bell of its name and the one waking the other."""
        rounds = Rounds(
            database=database,
            mandate=mandate,
            clock=clock,
            ids=ids,
            bell=bells["rounds"],
            tools_wanted=bells["tools"].ring,
            planned=bells["submit"].ring,
            ended=ended,
            window=pace.round_window,
            chunk_bytes=pace.chunk_bytes,
            idle=pace.look,
        )
        caller = ToolCaller(
            database=database,
            writes=writes,
            mandate=mandate,
            clock=clock,
            bell=bells["tools"],
            run_tool=run_tool,
            concurrency=pace.tool_concurrency,
            idle=pace.look,
        )
        return cls(rounds=rounds, caller=caller)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as both:
            await both.start(self.rounds.run)
            await both.start(self.caller.run)
            task_status.started()
