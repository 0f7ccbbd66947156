"""Agents: conversations of several rounds, with tools in between."""

from __future__ import annotations

import msgspec
import trio
from tests.invariants import settled
from tests.world import World, open_world, params

from backburner.agent_options import AgentOptions, ToolSpec, kept
from backburner.model import Job
from backburner.states import JobStatus
from backburner.storage.ledger import StartedCall
from backburner.tool_outcomes import ToolOutcome, returned

ADD = ToolSpec(name="add", description="Adds.", input_schema={"type": "object"})


async def add(call: StartedCall) -> ToolOutcome:
    await trio.sleep(1)
    given = msgspec.json.decode(call.input)
    return returned(given["a"] + given["b"])


def asks(text: str = 'use tool add {"a": 1, "b": 2} [sandbox:rounds=2]') -> str:
    return params(text)


async def submitted(world: World, *requests: str, agent: AgentOptions | None = None, **job: object) -> Job:
    return await world.submit(requests, agent=kept(agent or AgentOptions(tools=(ADD,))), **job)


async def test_an_agent_goes_through_its_rounds(autojump_clock):
    async with open_world() as world:
        world.run_tool = add
        async with world.instance() as system:
            job = await submitted(world, asks(), system=system, callback_url="http://receiver.test/hook")
            ended = await world.ended(system, job)
            await trio.sleep(10)
        await settled(world, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.COMPLETED, "end_turn")
        assert ended.batches.total == 3
