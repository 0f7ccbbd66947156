"""Running functions: results, failures, timeouts and cancellation, by kind of executor."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest
import trio
from tests.execution import functions

from backburner.errors import WorkFailed, WorkTimedOut
from backburner.execution.executors import Executors
from backburner.execution.places import Places
from backburner.execution.processes import Processes
from backburner.execution.tasks import Tasks
from backburner.execution.threads import Threads


@asynccontextmanager
async def opened(**more):
    executors = Executors(**more)
    async with executors.opened():
        yield executors


def call(executors, function, executor, *, timeout=30.0, **arguments):
    return executors.call(function, arguments, executor=executor, timeout_seconds=timeout, name="work")


async def test_a_task_gives_its_value(autojump_clock):
    async def double(n):
        await trio.sleep(1)
        return 2 * n

    async with opened() as executors:
        assert await call(executors, double, "async", n=3) == 6
        assert executors.places("async").taken == 0


async def test_a_task_that_raises_is_a_failure_of_the_call_only(autojump_clock):
    async def fail():
        raise ValueError("x")

    async with opened() as executors:
        with pytest.raises(WorkFailed, match="ValueError: x"):
            await call(executors, fail, "async")
        assert await call(executors, one, "async") == 1


async def one():
    return 1


async def test_a_task_that_takes_too_long_is_cancelled(autojump_clock):
    async with opened() as executors:
        with pytest.raises(WorkTimedOut):
            await call(executors, trio.sleep_forever, "async", timeout=2)
        assert trio.current_time() % 1000 == 2
        assert executors.places("async").taken == 0


async def test_a_task_that_ignores_its_cancellation_is_abandoned_and_keeps_its_place(autojump_clock):
    async def stubborn():
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    async with opened(tasks=Tasks(places=Places(3), patience=5)) as executors:
        with pytest.raises(WorkTimedOut):
            await call(executors, stubborn, "async", timeout=2)
        places = executors.places("async")
        assert (places.taken, places.abandoned, places.free) == (1, 1, 2)
        await trio.sleep(100)
        assert (places.taken, places.abandoned) == (0, 0)


@pytest.mark.parametrize("function", [functions.panic, functions.ctrl_c, sys.exit])
async def test_nothing_that_a_thread_raises_leaves_it(function):
    async with opened() as executors:
        with pytest.raises(WorkFailed) as failed:
            await call(executors, function, "thread")
        assert failed.value.code == "handler_error"
        assert await call(executors, functions.add, "thread", a=2, b=3) == 5


async def test_plain_functions_run_in_place_where_the_clock_is_virtual(autojump_clock):
    async with opened(is_inline=True) as executors:
        assert await call(executors, functions.add, "process", a=1, b=2) == 3


async def test_a_thread_that_outlives_its_time_keeps_its_place_until_it_ends():
    release, done = threading.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def wait():
        release.wait(20)
        token.run_sync_soon(done.set)

    async with opened(threads=Threads(Places(1))) as executors:
        with pytest.raises(WorkTimedOut):
            await call(executors, wait, "thread", timeout=0.05)
        places = executors.places("thread")
        assert (places.taken, places.abandoned, places.free) == (1, 1, 0)
        release.set()
        await done.wait()
        assert await call(executors, functions.add, "thread", a=2, b=3) == 5
        assert (places.taken, places.abandoned) == (0, 0)


async def test_calls_that_end_while_they_wait_for_a_thread_leave_every_place_free():
    release = threading.Event()

    def wait():
        release.wait(20)

    async with opened(threads=Threads(Places(2))) as executors:
        places = executors.places("thread")
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(call, executors, wait, "thread")
            while places.taken < 2:  # noqa: ASYNC110  # counted in threads
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert (places.taken, places.abandoned) == (2, 2)
        release.set()
        with trio.move_on_after(10):
            while places.taken:  # noqa: ASYNC110  # counted in threads
                await trio.sleep(0.01)
        assert (places.free, places.abandoned) == (2, 0)
        assert await call(executors, functions.add, "thread", a=2, b=3) == 5


async def test_a_thread_that_starts_when_nobody_waits_any_more_does_not_call_the_function(monkeypatch):
    called: list[int] = []
    late: list[Callable[[], object]] = []
    async with opened(threads=Threads(Places(2))) as executors:
        places = executors.places("thread")
        with monkeypatch.context() as patch, trio.move_on_after(0.01):
            patch.setattr("trio._threads.start_thread_soon", lambda run, deliver, name: late.append(run))
            await call(executors, called.append, "thread")
        assert (len(late), places.abandoned) == (1, 0)
        with pytest.raises(WorkTimedOut):
            late[0]()
        assert (called, places.taken, places.abandoned) == ([], 0, 0)


@pytest.mark.processes
async def test_processes_compute_are_killed_limited_and_replaced(tmp_path):
    pid_file = tmp_path / "pid"
    async with opened(processes=Processes(Places(1))) as executors:
        first = await call(executors, functions.whoami, "process")
        assert first == await call(executors, functions.whoami, "process")
        with pytest.raises(WorkTimedOut):
            await call(executors, functions.burn, "process", timeout=1.0, path=str(pid_file))
        assert not await trio.Path(f"/proc/{pid_file.read_text()}").exists()
        with pytest.raises(WorkFailed) as died:
            await call(executors, functions.die, "process")
        assert (died.value.code, executors.processes.died) == ("process_died", 1)
        with pytest.raises(WorkFailed) as leaked:
            await executors.call(
                functions.leak, {}, executor="process", timeout_seconds=30, name="leak", memory_bytes=256 * 1024 * 1024
            )
        assert leaked.value.code == "memory_exceeded"
        with pytest.raises(WorkFailed) as local:
            await call(executors, functions.add, "process", a=1, b=threading.Lock())
        assert local.value.code == "not_picklable"
        for function, code in ((functions.panic, "handler_error"), (functions.ctrl_c, "handler_error")):
            with pytest.raises(WorkFailed) as fatal:
                await call(executors, function, "process")
            assert fatal.value.code == code
        with pytest.raises(WorkFailed, match="Panic: native code gave up") as fatal:
            await call(executors, functions.bomb, "process")  # raises where it is unpacked: here
        assert fatal.value.code == "not_picklable"
        assert await call(executors, functions.add, "process", a=1, b=2) == 3
