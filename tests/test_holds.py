"""A job says why it waits, and stops saying so."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
import sqlalchemy as sa
import trio
from tests.scenes import HOOK, end_of, job_under, make_elsewhere
from tests.test_endings import cancel
from tests.test_handlers import queue
from tests.world import PACE, World, open_world, params

from backburner import App, TryAgainLater
from backburner.holds import Hold, HoldCode
from backburner.model import Job
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import JobStatus
from backburner.storage import holds
from backburner.storage.overview import pause, resume
from backburner.storage.tables import jobs, provider_batches

HELD = attrs.evolve(PACE, holds=30.0)
SLOW = SandboxOptions(batch_seconds=(600, 600))


async def hold_of(world: World, job: Job) -> Hold:
    """What holds the job. Its ETag has changed with that."""
    found = await world.job(job)
    assert found.hold is not None
    assert found.version > job.version
    return found.hold


@pytest.mark.parametrize(
    ("faults", "code", "words"),
    [
        (["create:401"], HoldCode.ACCOUNT_PAUSED, "401"),
        (["create:529"], HoldCode.ACCOUNT_WAITING, "529"),
        (["create:lost_response", "list:500"], HoldCode.SUBMISSION_UNKNOWN, "looked for"),
        (["status:404"], HoldCode.BATCH_NOT_FOUND, "404"),
        (["results:404"], HoldCode.BATCH_NOT_FOUND, "404"),
        (["status:500"], HoldCode.PROVIDER_UNAVAILABLE, "500"),
        (["results:500"], HoldCode.RESULTS_UNAVAILABLE, "500"),
    ],
)
async def test_what_a_batch_waits_for_is_shown_until_it_goes_on(faults, code, words, autojump_clock):
    async with job_under(*faults, items=5, pace=HELD) as (world, system, job):
        began = world.clock.now()
        await trio.sleep(300)
        hold = await hold_of(world, job)
        assert hold.code is code
        assert words in hold.message
        assert timedelta(0) <= hold.since - began < timedelta(seconds=130)
        await trio.sleep(300)
        assert await hold_of(world, job) == hold
        world.sandbox.faults.clear()
        ended = await end_of(world, system, job)
        assert (ended.status, ended.hold) == (JobStatus.COMPLETED, None)


async def test_a_wait_of_less_than_a_minute_is_nobodys_business(autojump_clock):
    pace = attrs.evolve(HELD, holds=0.5)
    async with job_under("create:529@1-2", "retrieve:500@1-3", items=5, pace=pace) as (world, system, job):
        with system.changes.listening(job.id) as ear:
            while not (found := await world.job(job)).status.is_terminal:
                assert found.hold is None
                await ear.heard(5)


async def test_what_has_ended_is_held_by_nothing(autojump_clock):
    async with job_under("create:401", items=5, pace=HELD) as (world, system, job):
        await trio.sleep(300)
        await hold_of(world, job)
        await cancel(world, system, job)
        kept = sa.select(jobs.c.status, jobs.c.hold)
        assert await world.database.read(lambda tx: tuple(tx.execute(kept).one())) == (JobStatus.CANCELLED, None)


async def test_a_hold_goes_when_the_job_goes_on(autojump_clock):
    async with job_under("create:529", items=5, pace=HELD, options=SLOW) as (world, _, job):
        await trio.sleep(300)
        await hold_of(world, job)
        world.sandbox.faults.clear()
        await trio.sleep(400)
        assert (await world.job(job)).status is JobStatus.RUNNING
        assert (await world.job(job)).hold is None


async def test_a_pause_by_hand_holds_what_runs_and_what_is_planned(autojump_clock):
    async with job_under(items=5, pace=HELD, options=SLOW) as (world, system, running):
        await trio.sleep(20)
        await world.database.write(pause, now=world.clock.now())
        planned = await world.submit([params("x")], system=system)
        await trio.sleep(120)
        for job in (running, planned):
            assert (await hold_of(world, job)).code is HoldCode.POLLING_PAUSED
        await world.database.write(resume, now=world.clock.now())
        await trio.sleep(60)
        for job in (running, planned):
            assert (await world.job(job)).hold is None


async def test_a_provider_that_is_no_longer_configured_holds_its_jobs(autojump_clock):
    def rename(tx: sa.Connection) -> None:
        for table in (provider_batches, jobs):
            tx.execute(sa.update(table).values(provider="anthropic"))

    async with open_world(pace=HELD) as world:
        job = await world.submit([params("x")])
        await world.database.write(rename)
        async with world.instance():
            await trio.sleep(120)
            hold = await hold_of(world, job)
    assert hold.code is HoldCode.PROVIDER_ABSENT
    assert "'anthropic'" in hold.message


async def test_a_job_that_is_cancelled_waits_for_what_may_be_anothers_batch(autojump_clock):
    async with open_world(options=SandboxOptions(batch_seconds=(7200, 7200)), pace=HELD) as world:
        await make_elsewhere(world, 5)
        world.sandbox.faults.add("create:500@1")
        async with world.instance() as system:
            job = await world.submit([params("ours")] * 5, system=system, callback_url=HOOK)
            await trio.sleep(30)
            await cancel(world, system, job)
            await trio.sleep(300)
            assert (await hold_of(world, job)).code is HoldCode.BATCH_UNRECOGNISED


async def test_of_many_jobs_each_is_held_and_set_free(monkeypatch, autojump_clock):
    """More than one page of them."""
    monkeypatch.setattr(holds, "PAGE", 3)
    async with open_world(pace=HELD) as world:
        world.sandbox.faults.add("create:401")
        held = sa.select(sa.func.count()).where(jobs.c.hold.is_not(None))
        for _ in range(7):
            await world.submit([params("x")])
        async with world.instance():
            await trio.sleep(200)
            assert await world.database.read(lambda tx: tx.execute(held).scalar()) == 7
            world.sandbox.faults.clear()
            await trio.sleep(1000)
            assert await world.database.read(lambda tx: tx.execute(held).scalar()) == 0


async def test_a_handler_that_is_tried_again_later_says_so(autojump_clock):
    app = App()
    tries = []

    @app.handler("busy")
    def busy() -> None:
        tries.append(trio.current_time())
        if len(tries) == 1:
            raise TryAgainLater("not now", seconds=600)

    async with open_world(pace=attrs.evolve(HELD, look=30.0)) as world:
        world.app = app
        async with world.instance() as system:
            job = await queue(world, "busy", system=system)
            await trio.sleep(120)
            assert (await hold_of(world, job)).code is HoldCode.RETRY_WAITING
            ended = await world.ended(system, job)
    assert (ended.status, ended.hold) == (JobStatus.COMPLETED, None)


def test_a_code_that_a_newer_server_has_written_is_kept():
    kept = {"code": "budget_spent", "since": "2026-01-01T00:00:00.000000Z", "message": "No money is left."}
    assert Hold.of_json(kept).as_json() == kept
