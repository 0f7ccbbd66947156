"""Whole stories that many tests begin or end with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from tests.invariants import provider_batches_by_nonce, settled
from tests.world import Life, World, open_world, params

from backburner.model import Job
from backburner.providers.base import WireRequest
from backburner.states import JobStatus
from backburner.system import System

HOOK = "http://receiver.test/hook"


@asynccontextmanager
async def job_under(
    *faults: str, items: int = 25, chunk_items: int = 10, text: str = "question", **options: Any
) -> AsyncIterator[tuple[World, System, Job]]:
    """A running instance with a job of so many items, and a provider with these faults."""
    async with open_world(**options) as world:
        for fault in faults:
            world.sandbox.faults.add(fault)
        async with world.instance() as system:
            requests = [params(f"{text} {n}") for n in range(items)]
            job = await world.submit(requests, system=system, chunk_items=chunk_items, callback_url=HOOK)
            yield world, system, job


async def end_of(world: World, system: System, job: Job, *, delivered_within: float = 10) -> Job:
    """The job at its end: everything holds, and the caller was told once."""
    ended = await world.ended(system, job)
    await trio.sleep(delivered_within)
    await settled(world, job)
    return ended


async def good_end_of(world: World, system: System, job: Job, *, batches: int) -> Job:
    """The same for a job whose every item succeeded, in that many batches at the provider."""
    ended = await end_of(world, system, job)
    assert (ended.status, ended.stop_reason) == (JobStatus.COMPLETED, "end_turn")
    assert ended.counts is not None
    assert ended.counts.succeeded == ended.counts.total
    assert made_at(world) == [1] * batches
    return ended


def made_at(world: World) -> list[int]:
    """How often the provider made each batch."""
    return [len(ids) for ids in provider_batches_by_nonce(world.sandbox).values()]


async def make_elsewhere(world: World, items: int) -> None:
    """Another program makes a batch in the same account."""
    async with world.provider(Life()) as provider:
        requests = [WireRequest(custom_id=f"theirs-{n}", params=params("x").encode()) for n in range(items)]
        await provider.submit(requests, {})
