"""What nobody foresaw breaks one batch at a time, and is not tried without end."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from tests.invariants import Invariants
from tests.scenes import HOOK, end_of
from tests.world import Life, open_world, params

from backburner.errors import StorageUnavailable
from backburner.providers.base import BatchRef, Provider
from backburner.states import BatchStatus, JobStatus
from backburner.storage.batches import batches_of_job


@attrs.define(eq=False)
class Buggy:
    """A provider with a bug: for one batch, `method` raises what no caller expects."""

    inner: Any
    method: str
    batch_id: str | None = None
    broken: int = 0

    def __getattr__(self, name: str) -> Any:
        def fails(batch: BatchRef) -> Any:
            if batch.provider_batch_id != self.batch_id:
                return getattr(self.inner, name)(batch)
            self.broken += 1
            raise LookupError("a bug")

        return fails if name == self.method else getattr(self.inner, name)


@pytest.mark.parametrize("method", ["retrieve", "results"])
async def test_a_bug_in_a_poller_costs_its_batch_time_and_no_other_batch(method, autojump_clock):
    async with open_world() as world:
        buggy = Buggy(None, method)

        def tampered(provider: Provider) -> Any:
            buggy.inner = provider
            return buggy

        world.tamper = tampered
        async with world.instance() as system:
            job = await world.submit([params("x")] * 20, system=system, chunk_items=10, callback_url=HOOK)
            await trio.sleep(1)
            first, _ = await world.database.read(batches_of_job, job.key)
            buggy.batch_id = first.provider_batch_id
            await trio.sleep(3000)
            first, second = await world.database.read(batches_of_job, job.key)
            assert second.status is BatchStatus.INGESTED
            assert first.error == {"code": "internal_error"}
            assert 5 < buggy.broken < 25
            await Invariants(world).hold()
            buggy.batch_id = None
            ended = await end_of(world, system, job)
    assert (ended.status, ended.stop_reason) == (JobStatus.COMPLETED, "end_turn")


async def test_nothing_is_looked_at_again_before_the_last_look_is_written(autojump_clock):
    """Reads work, writes do not: what was polled stays due in the database, and is not polled all the time."""

    def cannot_write(moment: str) -> None:
        if moment == "before write" and 4 < trio.current_time() < 64:
            raise StorageUnavailable("full")

    async with open_world() as world, world.instance(Life(trouble=cannot_write)) as system:
        job = await world.submit([params("x")] * 20, system=system, chunk_items=10, callback_url=HOOK)
        await trio.sleep(63)
        assert len([at for at, *_ in world.calls if at > 4]) == 2
        ended = await end_of(world, system, job)
    assert ended.stop_reason == "end_turn"
