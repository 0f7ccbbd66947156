"""Jobs that are ended before they are done, deleted, or done again."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

import attrs
import sqlalchemy as sa
import trio
import trio.lowlevel
from tests.invariants import Invariants, settled
from tests.scenes import HOOK, end_of, job_under, made_at
from tests.world import PACE, World, open_world, params

from backburner.intake import open_intake, share_items
from backburner.model import Job, NewJob
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import BatchStatus, ItemStatus, JobStatus, JobType
from backburner.storage import jobs
from backburner.storage.batches import batches_of_job
from backburner.storage.items import list_items, requests_of
from backburner.storage.tables import audit_log, items, loose_keys, requests, results
from backburner.system import System

SLOW = SandboxOptions(batch_seconds=(600, 600), cancel_seconds=5)


async def cancel(world: World, system: System, job: Job) -> bool:
    """Whether it is done at once."""
    _, done = await world.database.write(jobs.cancel_job, 1, job.id, now=world.clock.now(), ids=world.ids)
    system.work()
    return done


def cancels(world: World) -> int:
    return [path.endswith("/cancel") for *_, path in world.calls].count(True)


# --- cancel ------------------------------------------------------------------------------------------------


async def test_with_nothing_in_flight_a_job_is_cancelled_at_once(autojump_clock):
    async with job_under("create:529", items=12) as (world, system, job):
        await trio.sleep(1)
        assert await cancel(world, system, job)
        ended = await end_of(world, system, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.CANCELLED, "cancelled_by_user")
        assert [line["result"] for line in await world.results(job)] == [{"type": "canceled"}] * 12
        assert made_at(world) == []


async def test_in_flight_the_provider_is_told_and_what_is_done_is_kept(autojump_clock):
    async with job_under(items=250, chunk_items=100, options=SLOW) as (world, system, job):
        await trio.sleep(300)
        assert not await cancel(world, system, job)
        before = trio.current_time()
        ended = await end_of(world, system, job)
        assert trio.current_time() - before < 30
        assert (ended.status, ended.stop_reason) == (JobStatus.CANCELLED, "cancelled_by_user")
        assert ended.counts.succeeded > 50
        assert ended.counts.canceled > 50
        assert ended.counts.total == ended.counts.succeeded + ended.counts.canceled == 250
        assert cancels(world) == 3


async def test_batches_that_were_not_sent_yet_are_never_sent(autojump_clock):
    pace = attrs.evolve(PACE, most_queued=10)
    async with job_under(items=30, options=SLOW, pace=pace) as (world, system, job):
        await trio.sleep(100)
        await cancel(world, system, job)
        ended = await end_of(world, system, job)
        assert ended.counts.canceled >= 20
        assert made_at(world) == [1]


async def test_a_cancel_that_comes_while_the_provider_is_asked_reaches_it_at_once(autojump_clock):
    async with job_under(items=5, options=SLOW) as (world, system, job):
        await trio.sleep(100)
        world.sandbox.faults.add("retrieve:slow_headers=50x1")
        await trio.sleep(60)
        assert world.calls[-1][0] > trio.current_time() - 50  # being asked
        await cancel(world, system, job)
        before = trio.current_time()
        await end_of(world, system, job)
        assert trio.current_time() - before < 50


async def test_a_cancel_that_comes_too_late_still_ends_cancelled(autojump_clock):
    async with job_under("results:stall_body", items=5) as (world, system, job):
        await trio.sleep(130)
        (batch,) = await world.database.read(batches_of_job, job.key)
        assert batch.status is BatchStatus.ENDED
        await cancel(world, system, job)
        world.sandbox.faults.clear()
        ended = await end_of(world, system, job)
        assert (ended.status, ended.counts.succeeded) == (JobStatus.CANCELLED, 5)
        assert cancels(world) == 0


async def test_a_cancel_races_with_the_end(autojump_clock):
    """At every moment around the end the job ends once, and everything holds."""
    for tenths in range(0, 40, 5):
        async with job_under(items=5, options=SandboxOptions(batch_seconds=(10, 10), cancel_seconds=1)) as story:
            world, system, job = story
            await trio.sleep(9 + tenths / 10)
            if not (await world.job(job)).status.is_terminal:
                await cancel(world, system, job)
            ended = await end_of(world, system, job)
            assert ended.status in (JobStatus.CANCELLED, JobStatus.COMPLETED)


async def test_a_cancel_while_the_submission_is_unknown_ends_when_that_is_known(autojump_clock):
    async with job_under("create:reset", items=5) as (world, system, job):
        await trio.sleep(10)
        assert not await cancel(world, system, job)
        ended = await end_of(world, system, job)
        assert ended.counts.canceled == 5
        assert made_at(world) == []


async def test_a_cancel_while_the_answer_is_lost_keeps_what_is_found_to_be_ours(autojump_clock):
    """Until its results are here it may be somebody else's, so the provider is not told to cancel it."""
    faults = ["create:lost_response", "list:hide_newest@1-2"]
    async with job_under(*faults, items=5, options=SLOW) as (world, system, job):
        await trio.sleep(10)
        await cancel(world, system, job)
        ended = await end_of(world, system, job)
        assert (ended.status, ended.counts.succeeded) == (JobStatus.CANCELLED, 5)
        assert cancels(world) == 0
        assert made_at(world) == [1]


async def test_a_cancel_while_a_batch_is_divided_closes_both_halves(autojump_clock):
    async with open_world(options=SandboxOptions(latency_seconds=20)) as world:
        world.sandbox.faults.add("create:413")
        async with world.instance() as system:
            job = await world.submit([params("x")] * 8, system=system, callback_url=HOOK)
            await trio.sleep(10)
            await cancel(world, system, job)
            ended = await end_of(world, system, job)
    assert ended.counts.canceled == 8
    assert [at for at, *_ in world.calls] == [world.calls[0][0]]


async def test_a_provider_that_does_not_take_cancels_is_told_again(autojump_clock):
    async with job_under("cancel:500_html@1-3", items=5, options=SLOW) as (world, system, job):
        await trio.sleep(20)
        await cancel(world, system, job)
        ended = await end_of(world, system, job)
        assert ended.status is JobStatus.CANCELLED
        assert cancels(world) >= 4


# --- deadline ----------------------------------------------------------------------------------------------


async def test_a_job_past_its_deadline_expires_and_keeps_what_is_done(autojump_clock):
    async with open_world(options=SLOW) as world, world.instance() as system:
        deadline = world.clock.now() + timedelta(seconds=300)
        texts = [params("x")] * 200
        job = await world.submit(texts, system=system, chunk_items=100, callback_url=HOOK, deadline_at=deadline)
        ended = await end_of(world, system, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.EXPIRED, "deadline_exceeded")
        assert 300 <= (ended.completed_at - ended.created_at).total_seconds() < 330
        assert ended.counts.succeeded > 50
        assert ended.counts.canceled > 50  # as the provider says


async def test_a_deadline_before_anything_was_sent_expires_every_item(autojump_clock):
    async with open_world() as world, world.instance() as system:
        world.sandbox.faults.add("create:401")
        deadline = world.clock.now() + timedelta(seconds=200)
        job = await world.submit([params("x")] * 3, system=system, callback_url=HOOK, deadline_at=deadline)
        ended = await end_of(world, system, job)
        assert [line["result"] for line in await world.results(job)] == [{"type": "expired"}] * 3
        assert (ended.completed_at - ended.created_at).total_seconds() == 200


async def test_an_accepted_cancel_wins_over_a_deadline(autojump_clock):
    async with open_world(options=SLOW) as world, world.instance() as system:
        world.sandbox.faults.add("cancel:500_html@1-6")
        deadline = world.clock.now() + timedelta(seconds=120)
        job = await world.submit([params("x")] * 3, system=system, callback_url=HOOK, deadline_at=deadline)
        await trio.sleep(100)
        await cancel(world, system, job)
        ended = await end_of(world, system, job)
        assert ended.stop_reason == "cancelled_by_user"


# --- delete and retry --------------------------------------------------------------------------------------


async def rows(world: World, table: sa.Table) -> int:
    return await world.database.read(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


async def delete(world: World, job: Job) -> None:
    await world.database.write(jobs.delete_job, 1, job.id)


async def retry(world: World, system: System, job: Job, custom_ids: Collection[str] | None = None) -> Job:
    """Every item that did not succeed, or those of them that are named, again."""
    intake = await open_intake(world.database, world.clock, world.ids)
    statuses = (ItemStatus.ERRORED, ItemStatus.EXPIRED, ItemStatus.CANCELED)
    await share_items(intake, job, statuses=statuses, custom_ids=custom_ids)
    new = NewJob(
        id=world.ids.new("job"),
        job_type=JobType.BATCH,
        organization_key=1,
        user_key=1,
        created_at=world.clock.now(),
        provider="sandbox",
        retry_of=job.id,
        requests_of=await world.database.read(requests_of, job.key),
        callback_url=HOOK,
    )
    made = await intake.finish(new, chunk_items=None, chunk_bytes=1024 * 1024)
    system.work()
    return made


async def test_a_deleted_job_leaves_nothing_behind(autojump_clock):
    async with job_under(items=5000, chunk_items=1000) as (world, system, job):
        await end_of(world, system, job)
        await delete(world, job)
        await trio.sleep(2 * 3600)
        left = {table.name: await rows(world, table) for table in (items, requests, results, loose_keys)}
        assert left == {"items": 0, "requests": 0, "results": 0, "loose_keys": 0}
        await Invariants(world).hold()


async def test_failed_items_are_run_again_as_a_job_of_their_own(autojump_clock):
    async with open_world() as world, world.instance() as system:
        texts = [f"ok {n}" if n % 3 else "[sandbox:api_error]" for n in range(30)]
        job = await world.submit([params(text) for text in texts], system=system, chunk_items=7, callback_url=HOOK)
        await end_of(world, system, job)
        again = await retry(world, system, job)
        ended = await end_of(world, system, again)
        assert (ended.counts.total, ended.counts.errored) == (10, 10)
        assert [line["custom_id"] for line in await world.results(again)] == [f"item-{n}" for n in range(0, 30, 3)]
        await settled(world, job)


async def test_requests_that_a_retry_shares_outlive_their_job(autojump_clock):
    async with open_world() as world, world.instance() as system:
        world.sandbox.faults.add("create:400")
        job = await world.submit([params("x")] * 30, system=system, chunk_items=20, callback_url=HOOK)
        await end_of(world, system, job)
        world.sandbox.faults.clear()
        world.sandbox.faults.add("create:401")
        again = await retry(world, system, job, [f"item-{number}" for number in range(20)])
        await delete(world, job)
        await trio.sleep(3 * 3600)
        assert (await rows(world, items), await rows(world, requests)) == (20, 30)
        world.sandbox.faults.clear()
        ended = await end_of(world, system, again)
        assert ended.counts.succeeded == 20
        third = await retry_of_nothing(world, again)
        assert third == 0
        await delete(world, again)
        await trio.sleep(5 * 3600)
        assert (await rows(world, items), await rows(world, requests), await rows(world, loose_keys)) == (0, 0, 0)


async def retry_of_nothing(world: World, job: Job) -> int:
    intake = await open_intake(world.database, world.clock, world.ids)
    await share_items(intake, job, statuses=(ItemStatus.ERRORED,), custom_ids=None)
    await intake.drop()
    return intake.count


async def test_an_upload_that_breaks_off_is_swept(autojump_clock):
    async with open_world() as world, world.instance():
        intake = await open_intake(world.database, world.clock, world.ids)
        from backburner.model import NewItem

        for n in range(2500):
            await intake.add(NewItem(f"item-{n}", params("x"), 100))
        assert await rows(world, items) == 2000
        await trio.sleep(3 * 3600)
        assert (await rows(world, items), await rows(world, loose_keys)) == (0, 0)


async def test_rows_of_the_audit_log_go_when_they_are_old(autojump_clock):
    def log(tx: sa.Connection, number: int) -> None:
        row = {"public_id": f"audit-{number}", "at": world.clock.now(), "organization_id": 1}
        tx.execute(sa.insert(audit_log).values(**row, action="job.cancel", object_type="job", object_id="job-1"))

    pace = attrs.evolve(PACE, look=300.0, audit_kept=timedelta(minutes=8))
    async with open_world(pace=pace) as world, world.instance():
        for number, minutes in enumerate((1, 5, 5)):
            await trio.sleep(minutes * 60)
            await world.database.write(log, number)
        assert await rows(world, audit_log) == 2
        await trio.sleep(10 * 60)
        assert await rows(world, audit_log) == 0


# --- what is shown meanwhile -------------------------------------------------------------------------------


async def test_items_show_where_they_stand_at_every_stage(autojump_clock):
    pace = attrs.evolve(PACE, most_queued=10)
    async with job_under(items=30, pace=pace) as (world, system, job):

        async def shown(*statuses: ItemStatus) -> int:
            page, _ = await world.database.read(
                list_items, job, statuses=statuses, custom_id=None, limit=100, after=None, before=None, ascending=True
            )
            return len(page)

        await trio.sleep(100)
        assert (await shown(ItemStatus.SUCCEEDED), await shown(ItemStatus.PROCESSING)) == (10, 20)
        await cancel(world, system, job)
        counts = (await end_of(world, system, job)).counts
        # Ten were never sent; of the ten at the provider some were running and finished.
        assert await shown(ItemStatus.CANCELED) == counts.canceled >= 10
        assert await shown(ItemStatus.SUCCEEDED) == counts.succeeded == 30 - counts.canceled
        assert await shown() == 30
