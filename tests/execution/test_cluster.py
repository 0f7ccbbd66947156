"""Functions on a real Dask cluster: a scheduler and workers as processes of their own, over TCP on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from tests.execution import functions

from backburner.errors import WorkFailed, WorkTimedOut
from backburner.execution.cluster import Cluster
from backburner.execution.context import Context
from backburner.execution.executors import Executors

pytestmark = [pytest.mark.processes, pytest.mark.sockets]

ROOT = Path(__file__).parents[2]


@attrs.define
class Grid:
    """The processes of a cluster."""

    folder: Path
    address: str = ""
    processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        arguments = [sys.executable, "-m", "dask", *command, "--no-dashboard"]
        log = (self.folder / "cluster.log").open("ab")
        with log:
            process = subprocess.Popen(arguments, cwd=self.folder, env=environ, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def scheduler(self) -> subprocess.Popen[bytes]:
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        port = self.address.rpartition(":")[2] or "0"
        started = self.start("scheduler", "--host", "127.0.0.1", "--port", port, "--scheduler-file", str(file))
        latest = time.monotonic() + 30
        while not file.exists() or not (text := file.read_text()).rstrip().endswith("}"):
            assert time.monotonic() < latest, (self.folder / "cluster.log").read_text()
            time.sleep(0.05)  # noqa: TID251
        self.address = text.split('"address": "')[1].split('"')[0]
        return started

    def worker(self) -> subprocess.Popen[bytes]:
        return self.start("worker", self.address, "--no-nanny", "--nthreads", "2", "--host", "127.0.0.1")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    made = Grid(tmp_path_factory.mktemp("grid"))
    try:
        made.scheduler()
        made.worker()
        yield made
    finally:
        for process in made.processes:
            process.kill()
            process.wait()


@asynccontextmanager
async def opened(grid: Grid):
    executors = Executors(cluster=Cluster(address=grid.address, patience=1.5))
    with trio.fail_after(60):
        async with executors.opened():
            yield executors


def call(executors: Executors, function, *, timeout=30.0, context=None, memory_bytes=None, **arguments):
    return executors.call(
        function, arguments, executor="dask", timeout_seconds=timeout, name="work", context=context,
        memory_bytes=memory_bytes,
    )  # fmt: skip


def is_alive(pid: int) -> bool:
    return bool(pid) and Path(f"/proc/{pid}").exists()


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110  # of other processes
        await trio.sleep(0.05)


def pid_in(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


async def written(path: Path) -> int:
    await until(lambda: pid_in(path))
    return pid_in(path)


async def gone(pid: int) -> None:
    await until(lambda: not is_alive(pid))


async def test_results_and_failures_come_back_as_from_a_process(grid):
    async with opened(grid) as executors:
        assert await call(executors, functions.add, a=1, b=2) == 3
        assert executors.figures()["dask"].taken == 0
        with pytest.raises(WorkFailed, match="TypeError: unsupported operand") as caught:
            await call(executors, functions.add, a=1, b="x")
        assert (caught.value.code, caught.value.may_retry) == ("handler_error", True)
        assert caught.value.details["traceback"][-1].endswith("in add")
        with pytest.raises(WorkFailed, match="ended with -9") as caught:
            await call(executors, functions.die)
        assert caught.value.code == "process_died"
        with pytest.raises(WorkFailed) as caught:
            await call(executors, functions.leak, memory_bytes=64 * 1024 * 1024)
        assert caught.value.code == "memory_exceeded"
        with pytest.raises(WorkFailed) as caught:
            await call(executors, lambda: 1)
        assert (caught.value.code, caught.value.may_retry) == ("not_picklable", False)


async def test_a_call_that_is_cancelled_or_takes_too_long_is_killed(grid, tmp_path):
    async with opened(grid) as executors:
        with trio.move_on_after(60) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: call(executors, functions.burn, path=str(tmp_path / "a")))
                pid = await written(tmp_path / "a")
                scope.cancel()
        await gone(pid)
        with pytest.raises(WorkTimedOut, match="longer than 2 s"):
            await call(executors, functions.burn, timeout=2.0, path=str(tmp_path / "b"))
        await gone(pid_in(tmp_path / "b"))  # or it had not begun yet
        assert executors.places("dask").taken == 0


async def test_progress_comes_over_the_wire(grid):
    words: list[dict[str, object]] = []
    context = Context(job_id="job-1", handler="work", attempt=1, token="attempt-1", deadline=None, said=words.append)
    async with opened(grid) as executors:
        assert await call(executors, functions.tell, context=context, words=3) == "job-1"
        await until(lambda: len(words) == 3)
        assert words[-1] == {"processed": 2, "total": 3}


async def test_a_call_whose_worker_or_scheduler_is_lost_may_be_tried_again(grid, tmp_path):
    async def lose(process: subprocess.Popen[bytes], name: str) -> WorkFailed:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_when_it_runs, process, tmp_path / name)
            with pytest.raises(WorkFailed) as caught:
                await call(executors, functions.burn, path=str(tmp_path / name))
        await gone(pid_in(tmp_path / name))
        return caught.value

    async def kill_when_it_runs(process: subprocess.Popen[bytes], path: Path) -> None:
        await written(path)
        process.kill()

    scheduler, worker = grid.processes
    async with opened(grid) as executors:
        error = await lose(worker, "a")
        assert (error.code, error.may_retry) == ("worker_lost", True)
        grid.worker()
        error = await lose(scheduler, "b")
        assert (error.code, error.may_retry) == ("scheduler_lost", True)
        scheduler.wait()
        with pytest.raises(WorkFailed) as caught:
            await call(executors, functions.add, a=1, b=2)
        assert caught.value.code in ("scheduler_lost", "cluster_unreachable")
        assert caught.value.may_retry
        grid.scheduler()
        grid.worker()
        assert await call(executors, functions.add, a=1, b=2) == 3
        assert executors.cluster.lost in (2, 3)


async def test_without_a_scheduler_a_call_fails_and_says_why(autojump_clock):
    cluster = Cluster()
    async with cluster.opened():
        with pytest.raises(WorkFailed, match="dask_scheduler") as caught:
            await cluster.call(functions.add, {}, timeout=1, name="work")
    assert not caught.value.may_retry
