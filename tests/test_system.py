"""A whole instance under a virtual clock."""

from __future__ import annotations

import trio
from tests.world import open_world, params

from backburner.states import JobStatus


async def test_a_batch_goes_in_and_every_result_comes_out(autojump_clock):
    async with open_world() as world, world.instance() as system:
        job = await world.submit(
            [params(f"question {n}") for n in range(25)],
            system=system,
            chunk_items=10,
            callback_url="http://receiver.test/hook",
        )
        ended = await world.ended(system, job)

        assert ended.status == JobStatus.COMPLETED
        assert ended.stop_reason == "end_turn"
        assert (ended.counts.total, ended.counts.succeeded) == (25, 25)
        assert [f"item-{n}" for n in range(25)] == [line["custom_id"] for line in await world.results(job)]


async def test_a_leader_steps_down_from_the_term_that_is_meant_and_no_other(autojump_clock):
    async with open_world() as world, world.instance() as system:
        await trio.sleep(1)
        assert system.leader.term is not None
        epoch = system.leader.term.epoch
        assert system.step_down(epoch + 1) is False
        assert system.step_down(epoch) is True
        await trio.sleep(1)
        assert not system.leader.is_leader
        await trio.sleep(30)
        assert system.leader.is_leader
        assert system.leader.term.epoch == epoch + 1
