"""Jobs that an owner moves from outside, in a whole instance."""

from __future__ import annotations

from datetime import timedelta

import trio
from tests.scenes import HOOK
from tests.world import open_world

from backburner.model import NewJob
from backburner.states import JobStatus, JobType
from backburner.storage import job_updates


async def test_a_job_that_nobody_finishes_expires_at_its_deadline_and_the_caller_is_told(autojump_clock):
    async with open_world() as world, world.instance() as system:
        new = NewJob(
            id=world.ids.new("job"),
            job_type=JobType.JOB,
            organization_key=1,
            user_key=1,
            created_at=world.clock.now(),
            callback_url=HOOK,
            deadline_at=world.clock.now() + timedelta(seconds=90),
        )
        job = await world.database.write(job_updates.make_plain_job, new, now=world.clock.now())
        system.work()
        ended = await world.ended(system, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.EXPIRED, "deadline_exceeded")
        assert trio.current_time() == 90
        await trio.sleep(10)
        ((_, told),) = world.receiver.received
        assert (told["type"], told["job_id"], told["request_counts"]) == ("job.expired", job.id, None)
