"""The provider answers 404 for what it has made: for weeks that proves nothing, and a person is told at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import attrs
import pytest
import trio
from tests.scenes import HOOK, end_of, good_end_of, job_under
from tests.test_endings import cancel
from tests.world import PACE, World, open_world, params

from backburner.errors import Conflict
from backburner.model import Job
from backburner.providers.anthropic import AnthropicProvider
from backburner.providers.base import Found, Provider, Sieve
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import BatchStatus, JobStatus
from backburner.storage import by_hand
from backburner.storage.batches import batches_of_job
from backburner.storage.troubles import troubles
from backburner.system import System

HOUR = 3600.0
DAY = 24 * HOUR
SLOW = SandboxOptions(batch_seconds=(600, 600))
SELDOM = attrs.evolve(PACE, interval=6 * HOUR, look=6 * HOUR, job_lease=2 * DAY)  # weeks have too many beats


def beat_seldom(system: System) -> None:
    system.leader.heartbeat_interval, system.leader.trust = 6 * HOUR, DAY


async def kinds(world: World) -> list[str]:
    return [trouble.kind for trouble in await world.database.read(troubles, now=world.clock.now())]


async def test_a_404_for_results_hours_after_their_end_proves_nothing(autojump_clock):
    async with job_under("results:500", items=5) as (world, system, job):
        await trio.sleep(7 * HOUR)
        world.sandbox.faults.clear()
        world.sandbox.faults.add("results:404@1x1")
        await good_end_of(world, system, job, batches=1)


@pytest.mark.parametrize("fault", ["*:404", "results:404"])
async def test_weeks_of_404_lose_nothing(fault, autojump_clock):
    """A key of another workspace was put in; then the right one again."""
    async with job_under(items=5, pace=SELDOM) as (world, system, job):
        beat_seldom(system)
        await trio.sleep(2)
        world.sandbox.faults.add(fault)
        await trio.sleep(28 * DAY)
        (batch,) = await world.database.read(batches_of_job, job.key)
        assert batch.status in (BatchStatus.SUBMITTED, BatchStatus.ENDED)
        world.sandbox.faults.clear()
        await good_end_of(world, system, job, batches=1)


async def test_what_is_gone_ends_when_the_provider_keeps_nothing_any_more(autojump_clock):
    """404 from the first look on, and no listing shows it."""
    async with job_under(items=25, pace=SELDOM) as (world, system, job):
        beat_seldom(system)
        await trio.sleep(2)
        world.sandbox.faults.add("retrieve:404#1")
        world.sandbox.faults.add("list:hide_newest=3")
        ended = await world.ended(system, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.COMPLETED, "completed_with_errors")
        assert (ended.counts.succeeded, ended.counts.errored) == (15, 10)
        assert 29 * DAY <= trio.current_time() < 29 * DAY + HOUR
        errors = [line["result"]["error"]["error"] for line in await world.results(job) if "error" in line["result"]]
        assert {error["code"] for error in errors} == {"result_missing"}


def keeping(days: float, provider: Provider) -> Provider:
    assert isinstance(provider, AnthropicProvider)
    return attrs.evolve(provider, retention=timedelta(days=days))


class EndlessListing(AnthropicProvider):
    """Its listing takes for ever."""

    async def find(self, options: Mapping[str, str], *, item_count: int, within: float, sieve: Sieve) -> Found:
        await trio.sleep_forever()
        raise AssertionError


def with_endless_listing(provider: Provider) -> Provider:
    kept = keeping(1, provider)
    return EndlessListing(**{field.name: getattr(kept, field.name) for field in attrs.fields(AnthropicProvider)})


@asynccontextmanager
async def kept_for(days: float, *faults: str) -> AsyncIterator[tuple[World, System, Job]]:
    """A job of five items at a provider that keeps results for so many days, whose batch is said to be running."""
    async with open_world(pace=SELDOM, options=SandboxOptions(batch_seconds=(60 * DAY, 60 * DAY))) as world:
        world.tamper = partial(keeping, days)
        async with world.instance() as system:
            beat_seldom(system)
            job = await world.submit([params("x")] * 5, system=system, callback_url=HOOK)
            await trio.sleep(2)
            for fault in faults:
                world.sandbox.faults.add(fault)
            yield world, system, job


async def test_a_day_of_nothing_but_404_is_needed_too(autojump_clock):
    async with kept_for(1, "status:500") as (world, system, job):
        await trio.sleep(1.5 * DAY)
        for faults in (["retrieve:404"], ["retrieve:500@1x1", "retrieve:404"]):
            world.sandbox.faults.clear()
            for fault in (*faults, "list:hide_newest"):
                world.sandbox.faults.add(fault)
            await trio.sleep(0.9 * DAY)
        assert not (await world.job(job)).status.is_terminal
        await world.ended(system, job)
        assert 1.5 + 0.9 + 1 <= trio.current_time() / DAY < 1.5 + 0.9 + 1.1


@pytest.mark.parametrize("listing", ["list:blank", "list:500", "list:stuck_cursor"])
async def test_what_a_listing_shows_or_leaves_open_is_not_lost(listing, autojump_clock):
    async with kept_for(1, "retrieve:404", listing) as (world, system, job):
        if "cursor" in listing:
            world.sandbox.faults.add("list:hide_newest")
        await trio.sleep(3 * DAY)
        assert not (await world.job(job)).status.is_terminal
        world.sandbox.faults.clear()
        world.sandbox.faults.add("retrieve:404")
        world.sandbox.faults.add("list:hide_newest")
        await world.ended(system, job)


async def test_a_listing_for_one_batch_holds_up_no_other(autojump_clock):
    async with open_world(pace=SELDOM, options=SandboxOptions(batch_seconds=(60 * DAY, 60 * DAY))) as world:
        world.tamper = with_endless_listing
        world.sandbox.faults.add("retrieve:404#1")
        async with world.instance() as system:
            beat_seldom(system)
            await world.submit([params("x")] * 5, system=system)
            await trio.sleep(DAY + 60)  # the listing has begun
            other = await world.submit([params("y")] * 5, system=system)
            await trio.sleep(60)
            await cancel(world, system, other)
            assert (await world.ended(system, other)).status is JobStatus.CANCELLED
            assert trio.current_time() < DAY + HOUR


async def test_the_lookback_does_not_end_what_is_denied(autojump_clock):
    async with kept_for(90, "retrieve:404") as (world, _, job):
        await trio.sleep(32 * DAY)
        assert (await world.job(job)).status is JobStatus.RUNNING
        assert await kinds(world) == ["denied_batch"]


async def test_a_cancel_or_a_deadline_ends_it_within_minutes(autojump_clock):
    async with job_under(items=10, options=SLOW) as (world, system, job):
        await trio.sleep(20)
        world.sandbox.faults.add("*:404")
        await trio.sleep(HOUR)
        await cancel(world, system, job)
        ended = await end_of(world, system, job)
        assert (ended.status, ended.counts.canceled) == (JobStatus.CANCELLED, 10)
        assert trio.current_time() < 1.2 * HOUR


async def test_404s_of_minutes_do_not_end_what_is_being_cancelled(autojump_clock):
    async with job_under(items=10, options=SLOW) as (world, system, job):
        await trio.sleep(300)
        world.sandbox.faults.add("*:404")
        await cancel(world, system, job)
        await trio.sleep(300)
        world.sandbox.faults.clear()
        ended = await end_of(world, system, job)
        assert ended.status is JobStatus.CANCELLED
        assert ended.counts.succeeded > 0


async def test_a_person_is_told_within_minutes_and_may_abandon_it(autojump_clock):
    async with job_under(items=5) as (world, system, job):
        await trio.sleep(2)
        (batch,) = await world.database.read(batches_of_job, job.key)
        given = {"now": world.clock.now(), "ids": world.ids}
        with pytest.raises(Conflict):
            await world.database.write(by_hand.abandon, batch.id, **given)
        world.sandbox.faults.add("retrieve:404")
        await trio.sleep(5 * 60)
        assert await kinds(world) == ["denied_batch"]
        await world.database.write(by_hand.abandon, batch.id, now=world.clock.now(), ids=world.ids)
        system.work()
        ended = await end_of(world, system, job)
        assert (ended.status, ended.counts.errored) == (JobStatus.FAILED, 5)


async def test_what_the_provider_says_is_gone_is_gone_at_once(autojump_clock):
    async with job_under("status:archived", items=5) as (world, system, job):
        ended = await end_of(world, system, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.FAILED, "all_items_failed")
        assert trio.current_time() < HOUR
