"""A key may act on several workspaces: a batch is seen by whoever names its own, and by nobody else."""

from __future__ import annotations

import pytest
import trio
from tests.scenes import good_end_of, made_at
from tests.world import open_world, params

from backburner.states import JobStatus
from backburner.storage import jobs
from backburner.storage.batches import batches_of_job

OPTIONS = {"anthropic-version": "2023-06-01", "anthropic-workspace-id": "wrkspc_two"}


@pytest.mark.parametrize("chunk_items", [5, 1])  # looked at one by one, and by a listing
async def test_a_job_in_a_workspace_gets_its_results(chunk_items, autojump_clock):
    async with open_world() as world, world.instance() as system:
        requests = [params(f"q {n}") for n in range(25)]
        job = await world.submit(requests, system=system, chunk_items=chunk_items, provider_options=OPTIONS)
        await good_end_of(world, system, job, batches=25 // chunk_items)
        assert trio.current_time() < 600
        looks = [path for _, method, path in world.calls if method == "GET" and path.endswith("/batches")]
        assert bool(looks) is (chunk_items == 1)


async def test_a_lost_answer_in_a_workspace_is_found_there_and_not_bought_again(autojump_clock):
    async with open_world() as world, world.instance() as system:
        world.sandbox.faults.add("create:lost_response@1")
        job = await world.submit([params(f"q {n}") for n in range(5)], system=system, provider_options=OPTIONS)
        await good_end_of(world, system, job, batches=1)


async def test_what_another_workspace_made_meanwhile_is_not_taken_for_a_lost_batch(autojump_clock):
    async with open_world() as world, world.instance() as system:
        world.sandbox.faults.add("create:500@1")
        job = await world.submit([params(f"q {n}") for n in range(5)], system=system, provider_options=OPTIONS)
        theirs = await world.submit([params(f"r {n}") for n in range(6)], system=system)
        await world.ended(system, theirs)
        await good_end_of(world, system, job, batches=2)


async def test_a_cancel_reaches_a_batch_in_its_workspace(autojump_clock):
    async with open_world() as world, world.instance() as system:
        job = await world.submit([params("q")], system=system, provider_options=OPTIONS)
        await trio.sleep(5)
        await world.database.write(jobs.cancel_job, 1, job.id, now=world.clock.now(), ids=world.ids)
        system.work()
        ended = await world.ended(system, job)
        assert ended.status is JobStatus.CANCELLED
        (batch,) = await world.database.read(batches_of_job, job.key)
        assert batch.cancel_sent_at is not None
        assert made_at(world) == [1]
        assert trio.current_time() < 60
