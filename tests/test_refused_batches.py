"""A provider refuses a batch: only the items that it does not take are errored, in few refused calls."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, log2
from typing import Any

import pytest
import trio
from tests.providers.picky import BAD, bad_items, make_picky
from tests.scenes import HOOK, end_of, good_end_of, made_at
from tests.test_agents import ADDS, Bench, submitted
from tests.world import World, open_world, params

from backburner.errors import SubmissionInterrupted
from backburner.model import Job
from backburner.providers.sandbox.options import SandboxOptions
from backburner.states import JobStatus
from backburner.storage.jobs import cancel_job

PLAIN = "HTTP 400 invalid_request_error: no"
ANY_TIME = 10**6


async def refuse(world: World, bad: Iterable[int], *, items: int, words: str = PLAIN, **job) -> tuple[Job, list[int]]:
    """The job at its end, and how many requests each refused call had."""
    marked = set(bad)
    log = make_picky(world, bad_items(words))
    texts = [params(f"{BAD if n in marked else 'good'} {n}") for n in range(items)]
    async with world.instance() as system:
        made = await world.submit(texts, system=system, chunk_items=items, callback_url=HOOK, **job)
        ended = await end_of(world, system, made)
    return ended, [size for size, passed in log if not passed]


async def errored(world: World, job: Job) -> dict[int, dict[str, Any]]:
    """The errors of the items that have one, by position."""
    found = enumerate(await world.results(job))
    return {n: row["result"]["error"]["error"] for n, row in found if row["result"]["type"] == "errored"}


@pytest.mark.parametrize("items", [2, 3, 4, 7, 100])
@pytest.mark.parametrize("place", [0, 0.4, 1])
async def test_one_bad_item_costs_few_calls_and_no_other_item(items, place, autojump_clock):
    bad = round(place * (items - 1))
    async with open_world() as world:
        job, refused = await refuse(world, [bad], items=items)
        assert (job.status, job.counts.errored, job.counts.succeeded) == (JobStatus.COMPLETED, 1, items - 1)
        assert len(refused) <= 1 + ceil(log2(items))
        (error,) = (await errored(world, job)).items()
        assert error == (
            bad,
            {
                "type": "invalid_request_error",
                "code": "provider_rejected",
                "message": f"The provider refused this item: {PLAIN}",
            },
        )


@pytest.mark.parametrize("bad", [0, 17, 127])
async def test_an_item_that_the_provider_names_is_sent_alone_at_once(bad, autojump_clock):
    async with open_world() as world:
        job, refused = await refuse(world, [bad], items=128, words="HTTP 400 invalid_request_error: {place}no")
        assert (job.counts.errored, refused) == (1, [128, 1])
        assert list(await errored(world, job)) == [bad]


async def test_a_name_that_is_wrong_costs_no_good_item(autojump_clock):
    async with open_world() as world:
        job, refused = await refuse(world, [40], items=64, words="HTTP 400: requests.7.params: no")
        assert list(await errored(world, job)) == [40]
        assert len(refused) <= 4 * 6
        job, refused = await refuse(world, [40], items=64, words="HTTP 400: requests.64: no")  # there is none
        assert (list(await errored(world, job)), len(refused)) == ([40], 7)


async def test_some_bad_items_are_all_found(autojump_clock):
    bad = [3, 50, 51, 99]
    async with open_world() as world:
        job, refused = await refuse(world, bad, items=100)
        assert list(await errored(world, job)) == bad
        assert len(refused) <= 4 * 7


async def test_what_is_refused_whole_is_not_taken_apart(autojump_clock):
    """Both halves with the same words, then one item of each alone."""
    async with open_world() as world:
        job, refused = await refuse(world, range(128), items=128)
        assert (job.status, job.stop_reason, job.counts.errored) == (JobStatus.FAILED, "provider_rejected", 128)
        assert refused == [128, 64, 64, 1, 1]
        assert {error["message"] for error in (await errored(world, job)).values()} == {
            f"The provider refused this item: {PLAIN}"
        }


async def test_bad_items_in_both_halves_do_not_condemn_the_others(autojump_clock):
    bad = [10, 60, 70, 127]
    async with open_world() as world:
        job, refused = await refuse(world, bad, items=128)
        assert list(await errored(world, job)) == bad
        assert len(refused) <= 4 * 7


async def test_what_cannot_be_found_in_so_many_calls_is_errored_and_says_so(autojump_clock):
    """And the job can be retried: what is refused then is taken apart anew."""
    bad = range(0, 128, 2)
    async with open_world() as world:
        job, refused = await refuse(world, bad, items=128, words="HTTP 400: {mark}: no")
        assert len(refused) == 4 * 7
        found = await errored(world, job)
        undecided = {n for n, error in found.items() if error.get("not_isolated")}
        assert set(bad) <= set(found)
        assert set(found) - undecided <= set(bad)
        assert undecided
        assert all(found[n]["type"] == "api_error" for n in undecided)


async def test_a_kill_after_any_refusal_changes_nothing_in_the_end(autojump_clock):
    """What is known so far is in rows: the next instance asks nothing again but the one call that nobody heard of."""
    async with open_world() as world:
        refused = trio.Event()
        judge = bad_items(PLAIN)

        def telling(requests, options):
            error = judge(requests, options)
            if error is not None:
                refused.set()
            return error

        log = make_picky(world, telling)
        texts = [params(f"{BAD if n in {9, 40} else 'good'} {n}") for n in range(64)]
        made = await world.submit(texts, chunk_items=64, callback_url=HOOK)
        for steps in range(8):
            async with world.doomed_instance():
                with trio.move_on_after(1000):
                    await refused.wait()
                for _ in range(steps):  # the refusal may have been written down by then, or not
                    await trio.lowlevel.checkpoint()
            refused = trio.Event()
        async with world.instance() as system:
            await end_of(world, system, made, delivered_within=1000)
        assert list(await errored(world, made)) == [9, 40]
        assert len([size for size, passed in log if not passed]) <= 4 * 6


@pytest.mark.parametrize("seconds", [0.1, 1, 5])
async def test_a_job_that_is_cancelled_meanwhile_ends(seconds, autojump_clock):
    async with open_world(options=SandboxOptions(batch_seconds=(60, 60), latency_seconds=1.0)) as world:
        log = make_picky(world, bad_items(PLAIN))
        async with world.instance() as system:
            job = await world.submit([params(BAD), params("good")] * 20, system=system, callback_url=HOOK)
            await trio.sleep(seconds)
            await world.database.write(cancel_job, 1, job.id, now=world.clock.now(), ids=world.ids)
            system.work()
            ended = await end_of(world, system, job)
            tried = len(log)
            await trio.sleep(1000)
        assert ended.status is JobStatus.CANCELLED
        assert len(log) == tried


async def test_the_bad_items_of_a_later_round_are_found(autojump_clock):
    """A batch of a later round holds some of the items only; the conversations that are refused end, and no others."""
    bad = {3, 8}
    async with open_world() as world:
        world.run_tool = Bench()
        judge = bad_items(PLAIN)

        def judge_later(requests, options):
            return judge([request for request in requests if b"tool_result" in request.params], options)

        log = make_picky(world, judge_later)
        texts = [f"{BAD if n in bad else 'good'} {ADDS if n % 5 else 'no tool'}" for n in range(12)]
        async with world.instance() as system:
            job = await submitted(world, *texts)
            ended = await world.ended(system, job)
        assert list(await errored(world, job)) == sorted(bad)
        assert (ended.counts.errored, ended.counts.succeeded) == (2, 10)
        refused = [size for size, passed in log if not passed]
        assert len(refused) <= 4 * 4
        assert refused[0] == 9  # of twelve, nine have called a tool


@pytest.mark.parametrize(("marker", "most"), [("refused", 2), ("refused_unnamed", 5)])
async def test_a_real_refusal_is_understood(marker, most, autojump_clock):
    async with open_world() as world:
        async with world.instance() as system:
            texts = [params(f"[sandbox:{marker}]" if n == 7 else "good") for n in range(16)]
            job = await world.submit(texts, system=system, callback_url=HOOK)
            await end_of(world, system, job)
        assert list(await errored(world, job)) == [7]
        creates = [path for _, method, path in world.calls if (method, path) == ("POST", "/v1/messages/batches")]
        assert len(creates) - len(made_at(world)) <= most


# --- uploads that break off --------------------------------------------------------------------------------


def cuts(until: float, *, above: int = 0):
    """Every upload of more items breaks off until then."""

    def judge(requests, options):
        if trio.current_time() >= until or len(requests) <= above:
            return None
        return SubmissionInterrupted("reset", code="upload_interrupted")

    return judge


async def test_a_minute_of_resets_does_not_shatter_a_batch(autojump_clock):
    async with open_world() as world:
        log = make_picky(world, cuts(trio.current_time() + 60))
        async with world.instance() as system:
            job = await world.submit([params(f"{n}") for n in range(200)], system=system, callback_url=HOOK)
            await end_of(world, system, job)
        assert len(made_at(world)) <= 2  # what was tried apart when the network came back stays apart
        broken = [size for size, passed in log if not passed]
        assert broken[:5] == [200, 200, 200, 100, 200]
        assert len(broken) < 10


async def test_what_gets_through_only_in_smaller_parts_is_divided(autojump_clock):
    async with open_world() as world:
        log = make_picky(world, cuts(ANY_TIME, above=30))
        async with world.instance() as system:
            job = await world.submit([params(f"{n}") for n in range(100)], system=system, callback_url=HOOK)
            await good_end_of(world, system, job, batches=4)
        assert [size for size, passed in log if passed] == [25, 25, 25, 25]


async def test_an_item_alone_is_sent_until_it_gets_through(autojump_clock):
    async with open_world() as world:
        log = make_picky(world, cuts(trio.current_time() + 3600))
        async with world.instance() as system:
            job = await world.submit([params("x")], system=system, callback_url=HOOK)
            await good_end_of(world, system, job, batches=1)
        assert len(log) < 30


async def test_the_members_of_a_later_round_are_tried_apart_and_joined_again(autojump_clock):
    async with open_world() as world:
        world.run_tool = Bench()
        began: list[float] = []

        def judge(requests, options):
            later = any(b"tool_result" in request.params for request in requests)
            if later and not began:
                began.append(trio.current_time())
            return SubmissionInterrupted("reset") if later and trio.current_time() < began[0] + 60 else None

        log = make_picky(world, judge)
        async with world.instance() as system:
            job = await submitted(world, *[ADDS if n % 2 else "no tool" for n in range(12)])
            ended = await world.ended(system, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.COMPLETED, "end_turn")
        first, *later = [size for size, passed in log if passed]
        assert (first, sum(later)) == (12, 6)
        assert len(later) <= 2
        assert [size for size, passed in log if not passed][:5] == [6, 6, 6, 3, 6]
