"""What goes wrong while results are read: every item ends with exactly one result, the provider's bytes."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
import trio
from simulation.account import results_of
from tests.scenes import HOOK, end_of, good_end_of, job_under, made_at, make_elsewhere
from tests.world import open_world, params

from backburner.agent_options import AgentOptions, ToolSpec, kept
from backburner.providers.sandbox.options import SandboxOptions
from backburner.reading import Reading
from backburner.states import BatchStatus, JobStatus
from backburner.storage.batches import batches_of_job
from backburner.storage.items import results_page

HEALING = [
    "reset_midline=4@1-2", "close_midline@1", "truncate=3@1-2", "truncated_line@1", "reset@1", "stall@1",
    "stall_body@1", "404@1-3", "429=20@1", "500_html@1-2", "drop=3@1-2", "bad_json@1", "bad_utf8@1",
    "unknown_type=2@1", "broken_gzip@1", "html_200@1", "empty_200@1", "307@1-2", "401@1",
]  # fmt: skip
HARMLESS = ["duplicate=3", "contradict=3", "foreign=3", "crlf", "blank", "bom", "no_newline", "drip=500"]


@pytest.mark.parametrize("fault", HEALING)
async def test_results_that_break_are_read_again(fault, autojump_clock):
    async with job_under(f"results:{fault}", items=12) as (world, system, job):
        await good_end_of(world, system, job, batches=2)


@pytest.mark.parametrize("fault", HARMLESS)
async def test_results_of_an_odd_form_are_read_at_once(fault, autojump_clock):
    async with job_under(f"results:{fault}", items=12) as (world, system, job):
        await good_end_of(world, system, job, batches=2)
        assert [path.endswith("/results") for *_, path in world.calls].count(True) == 2


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("drop=2", "result_missing"), ("bad_json=2", "result_unreadable"), ("bad_utf8=2", "result_unreadable"),
        ("deep=2", "result_unreadable"), ("unknown_type=2", "result_unknown"), ("truncate=8", "result_missing"),
    ],
)  # fmt: skip
async def test_what_four_whole_reads_do_not_show_is_errored_and_says_why(fault, code, autojump_clock):
    async with job_under(f"results:{fault}", items=10) as (world, system, job):
        ended = await end_of(world, system, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.COMPLETED, "completed_with_errors")
        assert (ended.counts.succeeded, ended.counts.errored) == (8, 2)
        errors = [line["result"]["error"]["error"] for line in await world.results(job) if "error" in line["result"]]
        assert [error["code"] for error in errors] == [code] * 2
        reads = [at for at, _, path in world.calls if path.endswith("/results")]
        assert [round(later - earlier) for earlier, later in pairwise(reads)] == [5, 60, 900]


async def test_what_the_provider_shows_ten_minutes_late_is_not_lost(autojump_clock):
    async with job_under("results:drop=2@1-3", items=10) as (world, system, job):
        await good_end_of(world, system, job, batches=1)


async def test_a_line_that_is_nested_too_deeply_costs_only_its_item(autojump_clock):
    async with job_under("results:deep=1", "results:no_newline", items=5) as (world, system, job):
        ended = await end_of(world, system, job)
        assert (ended.counts.succeeded, ended.counts.errored) == (4, 1)
        assert trio.current_time() < 1200


async def test_a_lost_submission_is_recognised_by_results_that_are_nested_too_deeply(autojump_clock):
    async with open_world() as world:
        await make_elsewhere(world, items=5)
        world.sandbox.faults.add("results:deep=4")
        world.sandbox.faults.add("create:lost_response@1x1")
        async with world.instance() as system:
            job = await world.submit([params("ours")] * 5, system=system, callback_url=HOOK)
            ended = await end_of(world, system, job)
            assert (ended.counts.succeeded, ended.counts.errored) == (1, 4)


async def test_what_nobody_foresaw_costs_nothing_that_was_read_before_it(monkeypatch, autojump_clock):
    def breaks(reading, line):
        if reading.new == 3:
            raise RuntimeError("a line that breaks its reader")
        take(reading, line)

    take = Reading.take
    monkeypatch.setattr(Reading, "take", breaks)
    async with job_under(items=5) as (world, system, job):
        await good_end_of(world, system, job, batches=1)
        assert [path.endswith("/results") for *_, path in world.calls].count(True) == 2


async def test_each_item_is_told_apart_by_what_was_wrong_with_it(autojump_clock):
    async with job_under("results:drop=1", items=4) as (world, system, job):
        await world.submit([params("never read")], system=system)
        world.sandbox.faults.add("results:bad_json=1")
        ended = await end_of(world, system, job)
        codes = sorted(
            line["result"]["error"]["error"]["code"] for line in await world.results(job) if "error" in line["result"]
        )
        assert ended.counts.errored == len(codes) > 0
        assert set(codes) <= {"result_missing", "result_unreadable"}


async def test_a_stream_that_gets_further_each_time_is_not_given_up(autojump_clock):
    rules = [f"results:truncate={2 * n}@{n}x1" for n in range(1, 6)]
    async with job_under(*rules, items=10) as (world, system, job):
        await good_end_of(world, system, job, batches=1)


async def test_results_that_are_cut_inside_a_line_again_and_again_lose_nothing(autojump_clock):
    async with job_under("results:truncated_line=3", items=10) as (world, system, job):
        await trio.sleep(3600)
        (batch,) = await world.database.read(batches_of_job, job.key)
        assert (batch.status, batch.reads, batch.error["code"]) == (BatchStatus.ENDED, 0, "results_unavailable")
        assert batch.counts.finished == 3
        world.sandbox.faults.clear()
        await good_end_of(world, system, job, batches=1)


async def test_results_behind_a_gateway_are_read_through_it(autojump_clock):
    """It passes the provider's JSON on, in which the results are at the provider's own address."""
    async with job_under("status:foreign_results_url", items=5) as (world, system, job):
        await good_end_of(world, system, job, batches=1)
        assert trio.current_time() < 300


async def test_an_odd_usage_costs_no_result(autojump_clock):
    async with job_under("results:odd_usage=4", items=5) as (world, system, job):
        ended = await world.ended(system, job)
        assert (ended.stop_reason, ended.counts.succeeded) == ("end_turn", 5)
        assert 0 < ended.usage.output_tokens < 5 * 100
        counted = [line["result"]["message"]["usage"] for line in await world.results(job)]
        assert sum(isinstance(usage.get("output_tokens"), int) for usage in counted) == 1


async def test_an_agents_answer_of_odd_usage_is_followed_like_any_other(autojump_clock):
    async with open_world() as world:
        world.sandbox.faults.add("results:odd_usage=9")
        agent = AgentOptions(tools=(ToolSpec(name="add", url="http://tools.test/add", idempotent=True),))
        job = await world.submit([params("[sandbox:pauses=1] go on", max_tokens=4096)], agent=kept(agent))
        async with world.instance() as system:
            ended = await world.ended(system, job)
        assert (ended.status, ended.stop_reason) == (JobStatus.COMPLETED, "end_turn")
        assert len(made_at(world)) == 2


async def test_one_batch_whose_results_break_does_not_delay_the_others(autojump_clock):
    async with job_under("results:reset#1", "results:stall_body#2", items=40) as (world, system, job):
        await trio.sleep(150)
        statuses = [batch.status for batch in await world.database.read(batches_of_job, job.key)]
        assert statuses == [BatchStatus.ENDED, BatchStatus.ENDED, BatchStatus.INGESTED, BatchStatus.INGESTED]
        world.sandbox.faults.clear()
        await good_end_of(world, system, job, batches=4)


async def test_results_that_trickle_hold_up_nobody(autojump_clock):
    drips = [f"results:drip=2#{n}" for n in range(1, 6)]
    async with job_under(*drips, items=14, chunk_items=2) as (world, system, job):
        await trio.sleep(200)
        statuses = [batch.status for batch in await world.database.read(batches_of_job, job.key)]
        assert statuses == [BatchStatus.ENDED] * 5 + [BatchStatus.INGESTED] * 2
        await good_end_of(world, system, job, batches=7)


MARKED = ["surrogate", "nul", "u2028", "emoji", "errored", "api_error", "canceled", "expired", "refusal"]


async def test_odd_texts_are_kept_byte_for_byte(autojump_clock):
    async with open_world() as world, world.instance() as system:
        texts = [f"[sandbox:{name}]" for name in MARKED] + [f"[sandbox:large={10 * 1024 * 1024}]"]
        job = await world.submit([params(text) for text in texts], system=system, callback_url=HOOK)
        ended = await world.ended(system, job)
        await trio.sleep(10)
        assert ended.stop_reason == "completed_with_errors"
        (batch,) = await world.database.read(batches_of_job, job.key)
        sent = results_of(world.sandbox, batch.provider_batch_id)
        expected = b"".join(
            b'{"custom_id":"item-%d","result":%b}\n' % (n, sent[f"{batch.nonce}-{n}"].encode())
            for n in range(len(texts))
        )
        text, _ = await world.database.read(results_page, job, statuses=(), after=-1, limit=1000)
        assert text == expected


async def test_counts_and_usage_are_exactly_the_sum_of_what_came(autojump_clock):
    options = SandboxOptions(batch_seconds=(60, 60), errored=0.2, expired=0.1, canceled=0.1)
    faults = ["results:drop=5@1", "results:duplicate=7", "results:reset_midline=90@2x1"]
    async with job_under(*faults, items=600, chunk_items=200, options=options) as (world, system, job):
        ended = await end_of(world, system, job)
        lines = await world.results(job)
        shown = [line["result"]["type"] for line in lines]
        counts = ended.counts
        assert [counts.succeeded, counts.errored, counts.canceled, counts.expired] == [
            shown.count(name) for name in ("succeeded", "errored", "canceled", "expired")
        ]
        used = [line["result"]["message"]["usage"] for line in lines if line["result"]["type"] == "succeeded"]
        assert msgspec.to_builtins(ended.usage) == {
            name: sum(usage[name] for usage in used) for name in msgspec.to_builtins(ended.usage)
        }
