"""What goes wrong while provider batches run: each is looked at again, and none holds up another."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
import trio
from tests.invariants import Invariants
from tests.scenes import HOOK, end_of, good_end_of, job_under, made_at, make_elsewhere
from tests.world import PACE, open_world, params

from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import BatchStatus, JobStatus
from backburner.storage.batches import batches_of_job

DAY = 24 * 3600.0


@pytest.mark.parametrize(
    "fault",
    [
        "429=20@1-2", "429_bare@1-2", "529@1-3", "500_html@1-3", "504@1", "reset@1-2", "refuse@1-2", "stall@1",
        "html_200@1-2", "truncated_json@1", "empty_200@1", "404@1-4", "unknown_status@1-3", "odd_counts@1-2", "307@1",
    ],
)  # fmt: skip
async def test_a_poll_that_fails_is_repeated(fault, autojump_clock):
    async with job_under(f"retrieve:{fault}") as (world, system, job):
        await good_end_of(world, system, job, batches=3)


@pytest.mark.parametrize("items", [25, 60])  # by looks at each, and by the listing
async def test_a_provider_that_does_not_speak_utf_8_is_understood(items, autojump_clock):
    faults = ["create:lost_response@1", "create:latin1", "retrieve:latin1", "list:latin1"]
    async with job_under(*faults, items=items, chunk_items=2) as (world, system, job):
        await good_end_of(world, system, job, batches=(items + 1) // 2)


async def test_a_404_just_after_create_is_not_believed(autojump_clock):
    async with job_under("status:404@1-5", items=5) as (world, system, job):
        await good_end_of(world, system, job, batches=1)


async def test_ended_without_a_results_url_is_looked_at_again(autojump_clock):
    async with job_under("retrieve:null_results_url@1-12", items=5) as (world, system, job):
        await good_end_of(world, system, job, batches=1)


async def test_a_batch_that_has_ended_does_not_run_again(autojump_clock):
    """The second look of the reader goes to a replica that lags behind."""
    async with job_under("results:reset@1", items=5) as (world, system, job):
        await trio.sleep(50)
        world.sandbox.faults.add("retrieve:backwards@2-4")
        await good_end_of(world, system, job, batches=1)


async def test_one_batch_that_always_fails_does_not_delay_the_others(autojump_clock):
    async with job_under("retrieve:500_html#1", "retrieve:stall#2", items=40) as (world, system, job):
        await trio.sleep(250)
        ingested = [batch.status for batch in await world.database.read(batches_of_job, job.key)]
        assert ingested == [BatchStatus.SUBMITTED, BatchStatus.SUBMITTED, BatchStatus.INGESTED, BatchStatus.INGESTED]
        await Invariants(world).hold()
        world.sandbox.faults.clear()
        await good_end_of(world, system, job, batches=4)


async def test_a_rate_limit_of_one_poll_holds_for_all(autojump_clock):
    async with job_under(items=100) as (world, system, job):
        await trio.sleep(3)
        world.sandbox.faults.add("retrieve:429=30@1x1")
        before = len(world.calls)
        await trio.sleep(25)
        retrieved = world.calls[before:]
        assert 1 <= len(retrieved) <= 10  # those that were under way, and then none for half a minute
        assert {at for at, *_ in retrieved} == {retrieved[0][0]}
        await good_end_of(world, system, job, batches=10)


@pytest.mark.parametrize(("items", "most"), [(20, 100), (60, 45)])  # by looks at each, and by the listing
async def test_an_account_that_does_not_work_is_asked_once_in_a_while(items, most, autojump_clock):
    async with job_under(items=items, chunk_items=2) as (world, system, job):
        await trio.sleep(2)
        world.sandbox.faults.add("status:401")
        before = len(world.calls)
        await trio.sleep(600)
        assert len(world.calls) - before <= most
        world.sandbox.faults.clear()
        await good_end_of(world, system, job, batches=items // 2)


async def test_a_poll_of_a_batch_that_fails_backs_off(autojump_clock):
    async with job_under("retrieve:500", items=5) as (world, _, _):
        await trio.sleep(3600)
        gaps = [later - sooner for (sooner, *_), (later, *_) in zip(world.calls[2:], world.calls[3:], strict=False)]
        assert 10 < len(gaps) < 30
        assert gaps[-1] > 250


async def test_many_open_batches_are_polled_by_the_listing(autojump_clock):
    async with job_under(items=60, chunk_items=2) as (world, system, job):
        await good_end_of(world, system, job, batches=30)
        paths = [path for _, method, path in world.calls if method == "GET" and not path.endswith("/results")]
        listings = paths.count("/v1/messages/batches")
        assert 0 < listings <= 12
        assert len(paths) - listings <= 2 * 30  # one look by each reader, few by pollers


async def test_batches_that_a_listing_shows_unchanged_are_passed_over_together(autojump_clock):
    async with job_under(items=60, chunk_items=2, options=SandboxOptions(batch_seconds=(3000, 3000))) as (
        world,
        system,
        job,
    ):
        await trio.sleep(600)
        before = await world.database.read(batches_of_job, job.key)
        await trio.sleep(120)
        after = await world.database.read(batches_of_job, job.key)
        for earlier, later in zip(before, after, strict=True):
            assert later.last_polled_at - earlier.last_polled_at >= timedelta(seconds=60)
            assert timedelta(0) < later.next_poll_at - later.last_polled_at <= timedelta(seconds=60)
        assert len({batch.last_polled_at for batch in after}) == 1
        await good_end_of(world, system, job, batches=30)


@pytest.mark.parametrize(
    "fault", ["500_html", "empty_page", "stuck_cursor", "hide_newest=5", "never_ends#3", "429=9@1-2"]
)
async def test_a_listing_that_fails_or_lies_delays_nobody_for_long(fault, autojump_clock):
    async with job_under(f"list:{fault}", items=60, chunk_items=2) as (world, system, job):
        if "never" in fault:
            await trio.sleep(180)
            world.sandbox.faults.clear()
        await good_end_of(world, system, job, batches=30)
        assert trio.current_time() < 260


async def test_a_batch_that_never_ends_is_given_up_after_the_lookback(autojump_clock):
    pace = attrs.evolve(PACE, lookback=timedelta(days=2), interval=600.0)
    async with job_under("status:never_ends#1", "cancel:never_ends#1", items=25, pace=pace) as (world, system, job):
        ended = await end_of(world, system, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.EXPIRED, "lookback_exceeded")
        assert (ended.counts.succeeded, ended.counts.expired) == (15, 10)
        assert 2 * DAY <= trio.current_time() < 2 * DAY + 3700
        cancels = [path for _, method, path in world.calls if method == "POST" and path.endswith("/cancel")]
        assert len(cancels) == 1


async def test_what_nobody_has_looked_at_for_longer_than_the_lookback_is_looked_at_first(autojump_clock):
    async with open_world(pace=attrs.evolve(PACE, lookback=timedelta(days=2), interval=600.0)) as world:
        async with world.instance() as system:
            job = await world.submit([params("x")] * 5, system=system)
            await trio.sleep(2)
        (batch,) = await world.database.read(batches_of_job, job.key)
        assert batch.status is BatchStatus.SUBMITTED
        await trio.sleep(15 * DAY)
        async with world.instance() as system:
            ended = await world.ended(system, job)
    assert (ended.status, ended.counts.succeeded) == (JobStatus.COMPLETED, 5)


async def test_giving_up_closes_what_was_never_sent(autojump_clock):
    pace = attrs.evolve(PACE, lookback=timedelta(days=2), interval=600.0, most_queued=10)
    async with job_under("status:never_ends", items=25, pace=pace) as (world, system, job):
        ended = await end_of(world, system, job)
        assert ended.counts.expired == 25
        assert made_at(world) == [1]


async def test_a_batch_in_quarantine_is_given_up_after_the_lookback(autojump_clock):
    pace = attrs.evolve(PACE, lookback=timedelta(days=3), interval=600.0)
    async with open_world(pace=pace) as world:
        world.sandbox.faults.add("create:lost_response")
        world.sandbox.faults.add("results:404")
        async with world.instance() as system:
            job = await world.submit([params("ours")] * 5, system=system, callback_url=HOOK)
            world.sandbox.faults.clear()
            await make_elsewhere(world, items=5)
            world.sandbox.faults.add("create:lost_response@1x1")
            world.sandbox.faults.add("results:404")
            await trio.sleep(1.5 * DAY)
            (batch,) = await world.database.read(batches_of_job, job.key)
            assert batch.status is BatchStatus.QUARANTINED
            looks = len(world.calls)
            await trio.sleep(6 * 3600)
            assert len(world.calls) - looks < 60  # once an hour
            ended = await end_of(world, system, job)
    assert (ended.status, ended.stop_reason) == (JobStatus.EXPIRED, "lookback_exceeded")


async def test_what_the_provider_has_archived_is_missing(autojump_clock):
    async with job_under("status:archived", items=5) as (world, system, job):
        ended = await end_of(world, system, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.FAILED, "all_items_failed")


async def test_what_expires_at_the_provider_keeps_what_was_finished(autojump_clock):
    options = SandboxOptions(batch_seconds=(2 * DAY, 2 * DAY))
    pace = attrs.evolve(PACE, interval=600.0)
    async with job_under(items=25, options=options, pace=pace) as (world, system, job):
        ended = await end_of(world, system, job)
        assert ended.stop_reason == "completed_with_errors"
        assert ended.counts.succeeded > 0
        assert ended.counts.expired > 0
