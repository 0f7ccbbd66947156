"""Jobs created and read over HTTP, beside the bare framework."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import attrs
import msgspec
import trio

from benchmarks.places import fresh
from benchmarks.report import Options, Row, middle, repeated
from benchmarks.watching import processor_time, watched_server
from benchmarks.wire import hammered, request, wire

CONNECTIONS = 16
NEW = request("POST", "/v1/jobs", {"metadata": {"customer": "c-1"}, "input": {"path": "/data/file"}})


@attrs.frozen
class Speed:
    """What a server did with many requests of one kind."""

    rate: float  # a second
    cost: float  # seconds of its processor time for each


def measure(options: Options) -> list[Row]:
    with bare_server() as (url, pid):
        bare = repeated(partial(trio.run, _speeds, url, pid, "job-1", options), options.runs)
    rows: list[Row] = []
    for database in options.databases:
        with fresh(database) as (folder, url), watched_server(folder, {"BACKBURNER_DATABASE_URL": url}) as server:
            made = trio.run(_made, server.url)
            ours = repeated(partial(trio.run, _speeds, server.url, server.popen.pid, made, options), options.runs)
        for number, what in enumerate(("created", "read")):
            beside = [run[number] for run in bare]
            rows += _rows(f"jobs {what} over HTTP, {database}", beside, [run[number] for run in ours])
    return rows


def _rows(what: str, bare: Sequence[Speed], ours: Sequence[Speed]) -> list[Row]:
    rate, cost = partial(Row, unit="jobs/s"), partial(Row, unit="ms", better="less")
    return [
        rate(
            what=what,
            ours=middle(speed.rate for speed in ours),
            raw=middle(speed.rate for speed in bare),
            raw_name="bare framework",
        ),
        cost(
            what=f"{what}: processor time of one",
            ours=middle(1000 * speed.cost for speed in ours),
            raw=middle(1000 * speed.cost for speed in bare),
            raw_name="bare framework",
        ),
    ]


async def _made(url: str) -> str:
    async with wire(url) as connection:
        _, body = await connection.ask(NEW)
    return str(msgspec.json.decode(body)["id"])


async def _speeds(url: str, pid: int, job_id: str, options: Options) -> tuple[Speed, Speed]:
    read = request("GET", f"/v1/jobs/{job_id}")
    return (
        await _speed(url, pid, [NEW] * options.requests, 202),
        await _speed(url, pid, [read] * options.requests, 200),
    )


async def _speed(url: str, pid: int, asked: Sequence[bytes], status: int) -> Speed:
    before = processor_time(pid)
    rate, _ = await hammered(url, asked, at_once=CONNECTIONS, status=status)
    return Speed(rate, (processor_time(pid) - before) / len(asked))


@contextmanager
def bare_server() -> Iterator[tuple[str, int]]:
    """The URL of the bare framework in a process of its own, and that process."""
    popen = subprocess.Popen([sys.executable, "-m", "benchmarks.bare_front"], stdout=subprocess.PIPE, text=True)
    try:
        assert popen.stdout is not None
        yield popen.stdout.readline().strip(), popen.pid
    finally:
        popen.kill()
        popen.wait()
