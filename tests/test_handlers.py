"""Background jobs in a whole instance: queued, executed, tried again, ended."""

from __future__ import annotations

import asyncio  # noqa: TID251  # what it raises
import itertools
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import trio
from tests.scenes import HOOK
from tests.world import Life, World, open_world

from backburner import App, GiveUp, TryAgainLater
from backburner.actors import runner
from backburner.actors.runner import accepted
from backburner.model import Job, NewJob
from backburner.states import JobStatus, JobType
from backburner.storage import handler_jobs, jobs
from backburner.storage.tables import work as work_table


async def queue(world: World, handler: str, input_=None, *, system=None, attempts=None, **more) -> Job:
    """Make a job of a handler."""
    new = NewJob(
        id=world.ids.new("job"),
        job_type=JobType.JOB,
        created_at=world.clock.now(),
        handler=handler,
        input=input_,
        **{"organization_key": 1, "user_key": 1, **more},
    )
    known = world.app.handlers.get(handler)
    attempts = attempts or (known.max_attempts if known else 3)
    made = await world.database.write(
        handler_jobs.make_handler_job, new, handler_jobs.QueueRules(attempts), now=world.clock.now()
    )
    if system is not None:
        system.work()
    return made


async def queued(world: World) -> int:
    return await world.database.read(lambda tx: len(tx.execute(work_table.select()).all()))


async def run_one(app: App, handler: str, input_=None, **more) -> tuple[Job, World]:
    """A job's whole life, and its end."""
    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            job = await queue(world, handler, input_, system=system, **more)
            ended = await world.ended(system, job)
            await trio.sleep(1)
            assert await queued(world) == 0
            return ended, world


async def test_a_job_runs_and_its_result_is_kept(autojump_clock):
    app = App()

    @app.handler("double")
    async def double(n: int) -> int:
        await trio.sleep(2)
        return 2 * n

    ended, world = await run_one(app, "double", {"n": 4}, callback_url=HOOK)
    assert (ended.status, ended.stop_reason, ended.result, ended.error) == (JobStatus.COMPLETED, "end_turn", 8, None)
    assert ended.started_at is not None
    assert ended.total_duration_ns >= 2e9
    ((_, told),) = world.receiver.received
    assert told["type"] == "job.completed"


async def test_a_plain_function_runs_too(autojump_clock):
    app = App()

    @app.handler("add")
    def add(a: int, b: int = 1) -> int:
        return a + b

    ended, _ = await run_one(app, "add", {"a": 2})
    assert ended.result == 3


async def test_a_failed_attempt_is_tried_again_later_and_later(autojump_clock):
    app = App()
    at = []

    @app.handler("flaky", max_attempts=4, backoff_seconds=10)
    async def flaky(ctx) -> str:
        at.append(trio.current_time())
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return ctx.token

    ended, _ = await run_one(app, "flaky")
    assert ended.status is JobStatus.COMPLETED
    assert ended.error is None
    first, second, third = at
    assert 5 <= second - first <= 11
    assert 10 <= third - second <= 21


async def test_a_poison_job_stops_after_its_attempts_with_the_error_kept(autojump_clock):
    app = App()

    @app.handler("poison", max_attempts=2)
    async def poison() -> None:
        raise ExceptionGroup("both", [ValueError("v"), OSError("o")])

    ended, _ = await run_one(app, "poison")
    assert (ended.status, ended.stop_reason) == (JobStatus.FAILED, "handler_error")
    assert (ended.error["code"], ended.error["attempt"]) == ("handler_error", 2)
    assert ended.error["message"] == "2 errors: ValueError: v; OSError: o"
    assert len(ended.error["details"]["errors"]) == 2


class Panic(BaseException):
    """As native code raises it."""


class NoText(Exception):
    def __str__(self) -> str:
        raise Panic


@pytest.mark.parametrize("kind", [Panic, asyncio.CancelledError, GeneratorExit, SystemExit, NoText])
@pytest.mark.parametrize("executor", ["async", "thread"])
async def test_whatever_a_handler_raises_fails_its_attempt_with_backoff_and_nothing_else(
    kind, executor, autojump_clock
):
    app, times = App(), []

    def fail() -> None:
        times.append(trio.current_time())
        raise kind

    async def fail_as_task() -> None:
        fail()

    app.handler("fail", max_attempts=2, backoff_seconds=2)(fail if executor == "thread" else fail_as_task)
    app.handler("well")(well)
    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            ended = await world.ended(system, await queue(world, "fail", system=system))
            assert (ended.status, ended.error["code"], ended.error["attempt"]) == (JobStatus.FAILED, "handler_error", 2)
            assert kind.__name__ in ended.error["message"]
            assert 1 <= times[1] - times[0] <= 2.1
            assert (await world.ended(system, await queue(world, "well", system=system))).status == JobStatus.COMPLETED


async def well() -> None:
    await trio.lowlevel.checkpoint()


async def test_a_fault_of_the_server_is_tried_again_as_soon_as_one_of_the_handler(autojump_clock, monkeypatch):
    app, calls = App(), itertools.count()
    app.handler("well", backoff_seconds=2)(well)

    def broken(*_: object) -> object:
        if not next(calls):
            raise RuntimeError("a bug of ours")
        return accepted(*_)

    monkeypatch.setattr(runner, "accepted", broken)
    ended, _ = await run_one(app, "well")
    assert (ended.status, next(calls)) == (JobStatus.COMPLETED, 2)
    assert ended.total_duration_ns < 4e9


class Trap(msgspec.Struct):
    """An input that goes off when it is read."""

    def __post_init__(self) -> None:
        raise Panic


async def test_an_input_whose_type_raises_is_an_invalid_one(autojump_clock):
    app = App()

    @app.handler("fall")
    async def fall(into: Trap) -> None: ...

    ended, _ = await run_one(app, "fall", {"into": {}})
    assert (ended.error["code"], ended.error["attempt"]) == ("invalid_input", 1)


async def test_what_was_said_of_progress_is_not_changed_behind_its_back(autojump_clock):
    app = App()

    @app.handler("say")
    async def say(ctx) -> None:
        rows: list[object] = [1]
        ctx.progress(rows=rows)
        rows[0] = object()  # no JSON
        await trio.sleep(1)

    ended, _ = await run_one(app, "say")
    assert (ended.status, ended.metadata["progress"]) == (JobStatus.COMPLETED, {"rows": [1]})


async def test_a_handler_may_say_that_trying_again_is_useless_or_when_it_is_not(autojump_clock):
    app = App()

    @app.handler("useless")
    async def useless() -> None:
        raise GiveUp("no such account", code="no_account")

    @app.handler("busy")
    async def busy(ctx) -> float:
        if ctx.attempt == 1:
            raise TryAgainLater("busy", seconds=500)
        return trio.current_time()

    ended, _ = await run_one(app, "useless")
    assert (ended.status, ended.error["code"], ended.error["attempt"]) == (JobStatus.FAILED, "no_account", 1)
    ended, _ = await run_one(app, "busy")
    assert 500 <= ended.result < 505


async def test_a_timeout_ends_the_attempt_not_the_job(autojump_clock):
    app = App()

    @app.handler("slow", timeout_seconds=30, backoff_seconds=1)
    async def slow(ctx) -> int:
        if ctx.attempt == 1:
            await trio.sleep_forever()
        return ctx.attempt

    ended, _ = await run_one(app, "slow")
    assert ended.result == 2
    assert 30 < trio.current_time() < 40


async def test_a_stuck_job_is_reported_then_cancelled(autojump_clock):
    app = App()

    @app.handler("stuck", stuck_after_seconds=60, max_attempts=1)
    async def stuck(ctx) -> None:
        for n in range(3):
            ctx.progress(n, 3)
            await trio.sleep(50)
        await trio.sleep_forever()

    ended, _ = await run_one(app, "stuck")
    assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "stuck")
    assert ended.metadata["progress"]["stuck"] is True
    assert 215 < trio.current_time() < 230


async def test_the_deadline_of_the_job_ends_it_wherever_it_is(autojump_clock):
    app = App()

    @app.handler("endless")
    async def endless() -> None:
        await trio.sleep_forever()

    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            deadline = world.clock.now() + timedelta(seconds=90)
            job = await queue(world, "endless", system=system, deadline_at=deadline)
            ended = await world.ended(system, job)
            assert (ended.status, ended.stop_reason) == (JobStatus.EXPIRED, "deadline_exceeded")
            assert 90 <= trio.current_time() < 92


async def test_a_running_job_is_cancelled_with_what_it_holds_released(autojump_clock):
    app = App()
    released = []

    @app.handler("endless")
    async def endless(ctx) -> None:
        try:
            await trio.sleep_forever()
        finally:
            released.append(ctx.cancelled)

    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            job = await queue(world, "endless", system=system)
            await trio.sleep(10)
            now = world.clock.now()
            _, done = await world.database.write(jobs.cancel_job, 1, job.id, now=now, ids=world.ids)
            assert not done
            system.work()
            ended = await world.ended(system, job)
            assert (ended.status, ended.stop_reason) == (JobStatus.CANCELLED, "cancelled_by_user")
            assert released == [True]
            assert await queued(world) == 0


async def test_progress_shows_in_the_metadata_and_is_coalesced(autojump_clock):
    app = App()

    @app.handler("counts")
    async def counts(ctx) -> None:
        for n in range(1000):
            ctx.progress(n + 1, 1000, f"line {n}", bytes=7 * n)
            await trio.sleep(0.01)

    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            job = await queue(world, "counts", system=system, metadata={"mine": 1})
            await trio.sleep(5)
            seen = await world.job(job)
            assert 400 < seen.metadata["progress"]["processed"] < 600
            assert seen.metadata["mine"] == 1
            ended = await world.ended(system, job)
            assert ended.metadata["progress"] == {
                "processed": 1000, "total": 1000, "message": "line 999", "bytes": 6993
            }  # fmt: skip
            assert ended.version < 60


async def test_input_that_does_not_fit_any_more_fails_without_another_attempt(autojump_clock):
    app = App()

    @app.handler("typed")
    async def typed(n: int) -> int:
        return n

    ended, _ = await run_one(app, "typed", {"n": "x"})
    assert (ended.status, ended.error["code"], ended.error["attempt"]) == (JobStatus.FAILED, "invalid_input", 1)
    assert "$.n" in ended.error["message"]


async def test_a_result_of_the_wrong_type_fails_the_job(autojump_clock):
    app = App()

    @app.handler("typed")
    async def typed() -> int:
        return "x"  # type: ignore[return-value]

    ended, _ = await run_one(app, "typed")
    assert ended.error["code"] == "invalid_output"


async def test_higher_priorities_go_first_but_none_waits_for_ever(autojump_clock):
    app = App()
    order = []

    @app.handler("one", concurrency=1)
    async def one(name: str) -> None:
        order.append(name)
        await trio.sleep(10)

    async with open_world() as world:
        world.app = app
        low = await queue(world, "one", {"name": "low"}, priority=0)
        await trio.sleep(90)
        await queue(world, "one", {"name": "high, but 90 s later"}, priority=1)
        await queue(world, "one", {"name": "higher"}, priority=2)
        async with world.instance() as system:
            await world.ended(system, low)
            await trio.sleep(60)
        assert order == ["higher", "low", "high, but 90 s later"]


async def test_handlers_and_organizations_have_as_many_places_as_they_are_given(autojump_clock):
    app = App()
    at_work, most = [0], [0]

    @app.handler("few", concurrency=3)
    async def few() -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        await trio.sleep(1)
        at_work[0] -= 1

    async with open_world() as world:
        world.app = app
        made = [await queue(world, "few") for _ in range(10)]
        async with world.instance() as system:
            for job in made:
                await world.ended(system, job)
    assert most == [3]


async def test_jobs_of_unknown_handlers_wait(autojump_clock):
    async with open_world() as world, world.instance():
        job = await queue(world, "elsewhere")
        await trio.sleep(1000)
        assert (await world.job(job)).status is JobStatus.PENDING


async def test_an_ordered_stop_gives_jobs_back_without_costing_an_attempt(autojump_clock):
    app = App()
    attempts = []

    @app.handler("long")
    async def long(ctx) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            await trio.sleep_forever()
        return "done"

    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            job = await queue(world, "long", system=system)
            await trio.sleep(5)
        assert (await world.job(job)).status is JobStatus.RUNNING
        async with world.instance() as system:
            ended = await world.ended(system, job)
        assert (ended.result, attempts) == ("done", [1, 1])


async def test_a_critical_section_completes_when_the_server_stops(autojump_clock):
    app = App()
    written = []

    @app.handler("careful")
    async def careful(ctx) -> str:
        with ctx.critical():
            await trio.sleep(3)
            written.append("both parts")
        return "done"

    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            job = await queue(world, "careful", system=system)
            await trio.sleep(1)
        assert written == ["both parts"]
        assert (await world.job(job)).status is JobStatus.RUNNING  # what follows the section was cut off
        async with world.instance() as system:
            assert (await world.ended(system, job)).result == "done"


async def test_a_killed_instance_returns_its_jobs_and_each_claim_counts(autojump_clock):
    app = App()
    attempts = []

    @app.handler("long")
    async def long(ctx) -> int:
        attempts.append((ctx.attempt, ctx.token))
        if ctx.attempt < 3:
            await trio.sleep_forever()
        return ctx.attempt

    async with open_world() as world:
        world.app = app
        async with world.doomed_instance() as system:
            job = await queue(world, "long", system=system)
            await trio.sleep(5)
        async with world.doomed_instance() as system:
            await trio.sleep(5)
        async with world.instance() as system:
            ended = await world.ended(system, job)
        assert ended.result == 3
        assert len({token for _, token in attempts}) == 3


async def test_a_job_that_kills_its_server_every_time_is_given_up(autojump_clock):
    app = App()

    @app.handler("killer", max_attempts=2)
    async def killer() -> None:
        await trio.sleep_forever()

    async with open_world() as world:
        world.app = app
        job = await queue(world, "killer")
        for _ in range(2):
            async with world.doomed_instance():
                await trio.sleep(5)
        async with world.instance() as system:
            ended = await world.ended(system, job)
        assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "worker_lost")


async def test_what_a_stale_worker_says_changes_nothing(autojump_clock):
    """The first instance freezes; a second takes its job over; then the first wakes up and says that it is done."""
    app = App()
    life = Life()
    wake = trio.Event()

    @app.handler("slow")
    async def slow(ctx) -> str:
        if ctx.attempt == 1:
            await wake.wait()
            return "stale"
        await trio.sleep(1000)
        return "fresh"

    async with open_world() as world:
        world.app = app
        async with world.doomed_instance() as first:
            job = await queue(world, "slow", system=first)
            await trio.sleep(1)
            tokens = list(first.executor.runner.running)
            async with world.instance() as second:  # takes back every claim, as after a crash
                await trio.sleep(5)
                wake.set()
                await trio.sleep(5)
                assert (await world.job(job)).status is JobStatus.RUNNING
                assert (await world.ended(second, job)).result == "fresh"
            assert tokens
    assert not life.is_over


async def test_a_handler_that_only_fails_is_left_alone_for_a_while(autojump_clock):
    app = App()
    at = []

    @app.handler("broken", max_attempts=1)
    async def broken() -> None:
        at.append(trio.current_time())
        raise ValueError("always")

    @app.handler("fine")
    async def fine() -> int:
        return 1

    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            for _ in range(14):
                await queue(world, "broken", system=system)
                await trio.sleep(0.5)
            assert len(at) == 10
            assert (await world.ended(system, await queue(world, "fine", system=system))).result == 1
            await trio.sleep(300)
    assert len(at) == 13
    assert [round(b - a) // 30 for a, b in itertools.pairwise(at[9:])] == [1, 2, 4]


@pytest.mark.parametrize("probe", ["gives up", "breaks"])
async def test_a_handler_is_tried_again_after_a_job_that_says_nothing_about_it(probe, autojump_clock, monkeypatch):
    """Of a handler that is left alone one job is taken at a time; how it ends must not leave the next ones waiting."""
    app = App()

    @app.handler("flaky", max_attempts=1)
    async def flaky(kind: str) -> str:
        if kind == "bad":
            raise RuntimeError(kind)
        if kind == "gives up":
            raise GiveUp(kind)
        return kind

    def break_on(handler, value):
        if value == "breaks":
            raise LookupError("a bug of ours")
        return accepted(handler, value)

    monkeypatch.setattr(runner, "accepted", break_on)
    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            for kind in ["bad"] * 10 + [probe]:
                await world.ended(system, await queue(world, "flaky", {"kind": kind}, system=system))
            with trio.fail_after(300):
                ended = await world.ended(system, await queue(world, "flaky", {"kind": "good"}, system=system))
            assert ended.status is JobStatus.COMPLETED


@pytest.mark.parametrize("seconds", [float("nan"), -1.0])
async def test_a_part_with_a_time_that_cannot_be_fails_its_attempt_only(seconds, autojump_clock):
    app = App()

    @app.handler("parts", max_attempts=1)
    async def parts(ctx) -> int:
        return await ctx.run_thread(max, timeout_seconds=seconds, a=1)

    ended, _ = await run_one(app, "parts")
    assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "handler_error")
    assert "timeout_seconds" in ended.error["message"]


async def test_a_handler_submits_a_batch_once_and_awaits_its_results(autojump_clock):
    app = App()
    made = []

    @app.handler("summarize")
    async def summarize(ctx, texts: list[str]) -> list[str]:
        requests = [
            {
                "custom_id": f"t{n}",
                "params": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}]},
            }
            for n, text in enumerate(texts)
        ]
        batch = await ctx.submit_batch(requests)
        made.append(batch)
        if ctx.attempt == 1:
            raise ValueError("after the submission")
        return [result["result"]["type"] for result in await ctx.batch_results(batch)]

    ended, _ = await run_one(app, "summarize", {"texts": ["a", "b"]})
    assert ended.result == ["succeeded", "succeeded"]
    assert len(made) == 2
    assert len(set(made)) == 1


def _tells_of_a_path(ctx) -> None:
    ctx.progress(1, 2, file=Path("x"))


def _raises_what_is_not_unicode() -> None:
    raise ValueError("no such file: caf\udce9.txt")


def _gives_up_with_details_that_are_not_json() -> None:
    raise GiveUp("no", details=[{"path": Path("x")}])


def _returns_what_is_not_unicode() -> str:
    return "caf\udce9"


@pytest.mark.parametrize(
    "odd",
    [
        _tells_of_a_path,
        _raises_what_is_not_unicode,
        _gives_up_with_details_that_are_not_json,
        _returns_what_is_not_unicode,
    ],
)
async def test_what_cannot_be_stored_fails_its_own_job_and_no_other(odd, autojump_clock):
    app = App()
    app.handler("odd", max_attempts=1)(odd)
    app.handler("good")(lambda: 7)
    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            failed = await world.ended(system, await queue(world, "odd", system=system, attempts=1))
            good = await world.ended(system, await queue(world, "good", system=system))
    assert failed.status is JobStatus.FAILED
    assert failed.error["message"]
    assert good.result == 7


@pytest.mark.parametrize("key", ["k" * 256, "a\0b"])
async def test_a_key_that_no_index_holds_is_refused_before_anything_is_bought(key, autojump_clock):
    app = App()

    @app.handler("long")
    async def long(ctx) -> None:
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}
        await ctx.submit_batch([{"custom_id": "a", "params": body}], key=key)

    ended, _ = await run_one(app, "long", {})
    assert (ended.status, ended.error["code"]) == (JobStatus.FAILED, "invalid_key")


async def test_a_full_pool_of_one_handler_does_not_hold_up_another(autojump_clock):
    app = App()

    @app.handler("hog", concurrency=2)
    async def hog() -> None:
        await trio.sleep(1000)

    @app.handler("quick")
    async def quick() -> float:
        return trio.current_time()

    async with open_world() as world:
        world.app = app
        async with world.instance() as system:
            for _ in range(20):
                await queue(world, "hog", system=system)
            ended = await world.ended(system, await queue(world, "quick", system=system))
            assert ended.result < 2
