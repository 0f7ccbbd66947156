"""Submissions whose outcome stays unknown for long: nobody else waits for them, and nothing is taken for one unread."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import attrs
import sqlalchemy as sa
import trio
from tests.scenes import HOOK, end_of, good_end_of, job_under, made_at, make_elsewhere
from tests.test_fairness import second_organization
from tests.world import PACE, World, open_world, params

from backburner.model import Job, ProviderBatch
from backburner.providers import anthropic_listing
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import BatchStatus, JobStatus
from backburner.storage.batches import batches_of_job
from backburner.storage.tables import provider_batches
from backburner.storage.troubles import troubles

HOUR = 3600.0
TENANT = {"organization_key": 2, "user_key": 2}
ALL_DAY = SandboxOptions(batch_seconds=(20 * HOUR, 20 * HOUR))


async def batch_of(world: World, job: Job) -> ProviderBatch:
    (batch,) = await world.database.read(batches_of_job, job.key)
    return batch


def creates(world: World) -> list[float]:
    return [at for at, method, path in world.calls if (method, path) == ("POST", "/v1/messages/batches")]


async def test_batches_of_its_size_go_on_after_ten_minutes(autojump_clock):
    """Two batches at the provider could be the lost one, and both take all day."""
    async with open_world(options=ALL_DAY) as world:
        await second_organization(world)
        await make_elsewhere(world, 10)
        await trio.sleep(5)
        world.sandbox.faults.add("create:lost_response@1")
        async with world.instance() as system:
            lost = await world.submit([params("x")] * 10, system=system, callback_url=HOOK)
            await trio.sleep(60)
            other = await world.submit([params("y")] * 10, system=system, callback_url=HOOK, **TENANT)
            await trio.sleep(8 * 60)
            assert (await batch_of(world, other)).status is BatchStatus.PLANNED
            await trio.sleep(4 * 60)
            assert (await batch_of(world, other)).status is BatchStatus.SUBMITTED
            assert (await batch_of(world, lost)).status is BatchStatus.UNKNOWN
            for job in (lost, other):
                assert (await end_of(world, system, job)).stop_reason == "end_turn"


async def test_what_is_found_later_than_that_is_not_adopted_unread(autojump_clock):
    """The listing is away for a quarter of an hour, and batches of that size have gone on."""
    async with open_world(options=SandboxOptions(batch_seconds=(2 * HOUR, 2 * HOUR))) as world:
        world.sandbox.faults.add("create:lost_response@1")
        world.sandbox.faults.add("list:500")
        async with world.instance() as system:
            job = await world.submit([params("x")] * 10, system=system, callback_url=HOOK)
            await trio.sleep(15 * 60)
            world.sandbox.faults.clear()
            await trio.sleep(HOUR)
            assert (await batch_of(world, job)).status is BatchStatus.UNKNOWN
            await good_end_of(world, system, job, batches=1)


async def test_what_waits_for_a_person_does_not_count_as_queued(autojump_clock):
    async with open_world(pace=attrs.evolve(PACE, most_queued=10), options=ALL_DAY) as world:
        await second_organization(world)
        stuck = await world.submit([params("x")] * 10)
        in_quarantine = {
            "status": BatchStatus.QUARANTINED,
            "intent_at": world.clock.now() - timedelta(hours=27),
            "next_poll_at": world.clock.now(),
            "error": {"code": "ambiguous"},
        }
        await world.database.write(lambda tx: tx.execute(sa.update(provider_batches).values(**in_quarantine)))
        for _ in range(2):
            await make_elsewhere(world, 10)
        other = await world.submit([params("y")] * 10, **TENANT)
        async with world.instance():
            await trio.sleep(HOUR)
            assert (await batch_of(world, other)).status is BatchStatus.SUBMITTED
            assert (await batch_of(world, stuck)).status is not BatchStatus.SUBMITTED


async def test_a_listing_that_stays_in_doubt_waits_for_a_person_after_a_day(autojump_clock):
    async with job_under("create:lost_response@1", "list:hide_newest", "list:stuck_cursor", items=5) as story:
        world, system, job = story
        await trio.sleep(25 * HOUR)
        assert (await batch_of(world, job)).status is BatchStatus.UNKNOWN
        await trio.sleep(2 * HOUR)
        batch = await batch_of(world, job)
        assert (batch.status, batch.error["code"]) == (BatchStatus.QUARANTINED, "listing_incomplete")
        assert [trouble.kind for trouble in await world.database.read(troubles, now=world.clock.now())] == [
            "quarantined_batch"
        ]
        before = len(world.calls)
        await trio.sleep(5.5 * HOUR)
        looks = sorted({at for at, *_ in world.calls[before:]})
        assert all(later - sooner > 0.9 * HOUR for sooner, later in pairwise(looks) if later - sooner > 1)
        assert len(creates(world)) == 1
        world.sandbox.faults.clear()
        await good_end_of(world, system, job, batches=1)


async def test_an_account_may_make_any_number_of_batches_in_a_day(autojump_clock, monkeypatch):
    """A page of the listing has one batch here instead of a thousand."""
    monkeypatch.setattr(anthropic_listing, "PAGE_SIZE", 1)
    async with open_world() as world:
        for _ in range(60):
            await make_elsewhere(world, 1)
        world.sandbox.faults.add("create:500@1")
        async with world.instance() as system:
            job = await world.submit([params("x")] * 2, system=system, callback_url=HOOK)
            with trio.fail_after(600):
                assert (await end_of(world, system, job)).stop_reason == "end_turn"
        assert made_at(world) == [60, 1]


async def test_the_settling_time_counts_from_the_end_of_the_attempt(autojump_clock):
    """While the listing is away nothing is sent again; when it is back, two looks in vain are enough."""
    async with job_under("create:reset@1x1", "list:500", items=5) as (world, system, job):
        await trio.sleep(400)
        assert len(creates(world)) == 1
        world.sandbox.faults.clear()
        await good_end_of(world, system, job, batches=1)
        first, second = creates(world)
        assert 400 <= second - first < 400 + PACE.settle


async def test_an_attempt_of_an_earlier_term_counts_from_the_begin_of_the_new_one(autojump_clock):
    """Its sender may be frozen and go on for as long as it likes until the term is another's."""
    async with open_world(options=SandboxOptions(batch_seconds=(60, 60), latency_seconds=20)) as world:
        async with world.doomed_instance() as system:
            job = await world.submit([params("x")] * 5, system=system, callback_url=HOOK)
            await trio.sleep(5)
            assert (await batch_of(world, job)).status is BatchStatus.SUBMITTING
        await trio.sleep(HOUR)
        took_over = trio.current_time()
        async with world.instance() as system:
            await good_end_of(world, system, job, batches=1)
        assert PACE.settle <= creates(world)[-1] - took_over < PACE.settle + 3 * 20


# --- adopted, and perhaps somebody else's ------------------------------------------------------------------


async def test_what_was_never_recognised_is_not_cancelled(autojump_clock):
    """Somebody else's batch was taken for ours, and then the job is cancelled."""
    from tests.test_endings import cancel, cancels

    async with open_world(options=SandboxOptions(batch_seconds=(2 * HOUR, 2 * HOUR))) as world:
        await make_elsewhere(world, 5)
        world.sandbox.faults.add("create:500@1")
        async with world.instance() as system:
            job = await world.submit([params("ours")] * 5, system=system, callback_url=HOOK)
            await trio.sleep(30)
            assert (await batch_of(world, job)).status is BatchStatus.SUBMITTED
            await cancel(world, system, job)
            await trio.sleep(HOUR)
            assert (await world.job(job)).status is JobStatus.RUNNING
            ended = await end_of(world, system, job)
            assert (ended.status, ended.counts.canceled) == (JobStatus.CANCELLED, 5)
            assert 2 * HOUR <= trio.current_time() < 2.2 * HOUR
            assert cancels(world) == 0
            assert (await batch_of(world, job)).provider_batch_id is None


async def test_what_a_deadline_finds_unrecognised_is_kept_if_it_was_ours(autojump_clock):
    from tests.test_endings import cancels

    async with open_world(options=SandboxOptions(batch_seconds=(2 * HOUR, 2 * HOUR))) as world:
        world.sandbox.faults.add("create:lost_response@1x1")
        async with world.instance() as system:
            deadline = world.clock.now() + timedelta(minutes=30)
            job = await world.submit([params("x")] * 5, system=system, callback_url=HOOK, deadline_at=deadline)
            ended = await end_of(world, system, job)
            assert (ended.status, ended.stop_reason) == (JobStatus.EXPIRED, "deadline_exceeded")
            assert ended.counts.succeeded == 5
            assert cancels(world) == 0
            assert made_at(world) == [1]


async def test_batches_that_are_given_up_hold_up_no_deadline(autojump_clock):
    """A hundred of them are too old, and the provider lets each cancel wait for a minute."""
    pace = attrs.evolve(PACE, lookback=timedelta(days=2), interval=HOUR)
    options = SandboxOptions(batch_seconds=(30 * 24 * HOUR, 30 * 24 * HOUR))
    faults = ("status:never_ends", "cancel:never_ends", "cancel:stall")
    async with job_under(*faults, items=100, chunk_items=1, pace=pace, options=options) as (world, system, job):
        await trio.sleep(48 * HOUR - 90)
        deadline = world.clock.now() + timedelta(seconds=120)
        urgent = await world.submit([params("x")], system=system, deadline_at=deadline, callback_url=HOOK)
        await trio.sleep(1)
        world.sandbox.faults.add("status:404")
        ended = await world.ended(system, job)
        assert ended.stop_reason == "lookback_exceeded"
        stopping = (await world.job(urgent)).stopping
        assert stopping == "deadline_exceeded"
        began = min(at for at, *_, path in world.calls if path.endswith("/cancel"))
        assert trio.current_time() - began < 10 * 60
