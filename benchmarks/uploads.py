"""One large upload, and what everybody else feels of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice

import attrs
import httpx2
import msgspec
import trio
from tests.processes.harness import KEY

from benchmarks.front import NEW
from benchmarks.places import fresh
from benchmarks.report import Options, Row, percentile
from benchmarks.watching import MEGABYTE, Memory, Watched, watched_server
from benchmarks.wire import request, wire

READERS = 50
PAUSE = 0.5  # of a reader between an answer and its next request
WARM, BEFORE = 2.0, 5.0  # seconds of reading that do not count, and that count as the raw operation
ITEM = 1024  # bytes of a line
PATHS = (
    "/v1/jobs?limit=20",
    "/v1/jobs/{}",
    "/v1/runs?limit=5",
    "/healthz",
    "/v1/admin/scheduler/status",
    "/v1/batches",
)


def measure(options: Options) -> list[Row]:
    rows: list[Row] = []
    for database in options.databases:
        with fresh(database) as (folder, url), watched_server(folder, {"BACKBURNER_DATABASE_URL": url}) as server:
            rows += _rows(options.megabytes, database, trio.run(_measured, server, options.megabytes))
    return rows


@attrs.frozen(kw_only=True)
class Upload:
    """What was seen of one upload, in seconds and MB."""

    seconds: float
    growth: float  # of the server's memory
    before: list[float]  # what the readers' answers took without it
    meanwhile: list[float]


def _rows(megabytes: int, database: str, found: Upload) -> list[Row]:
    what = f"upload of {megabytes} MB, {database}"
    others = f"{what}: {READERS} readers of other routes meanwhile"
    return [
        Row(what=what, unit="MB/s", ours=megabytes / found.seconds),
        Row(what=f"{what}: memory growth", unit="MB", ours=found.growth, target=64.0, better="less"),
        _waited(f"{others}, p50", found, 0.5),
        _waited(f"{others}, p99", found, 0.99, target=100.0),
    ]


def _waited(what: str, found: Upload, share: float, target: float | None = None) -> Row:
    before, meanwhile = 1000 * percentile(found.before, share), 1000 * percentile(found.meanwhile, share)
    return Row(
        what=what, unit="ms", ours=meanwhile, raw=before, raw_name="without the upload", target=target, better="less"
    )


async def _measured(server: Watched, megabytes: int) -> Upload:
    async with wire(server.url) as connection:
        _, body = await connection.ask(NEW)
    job_id = msgspec.json.decode(body)["id"]
    took: list[float] = []
    async with trio.open_nursery() as nursery:
        for number in range(READERS):
            nursery.start_soon(_read, server.url, job_id, number, took)
        await trio.sleep(WARM)
        took.clear()
        await trio.sleep(BEFORE)
        before = list(took)
        took.clear()
        with Memory(server) as memory:
            began = time.perf_counter()
            # In a process of its own, so that the readers here do not wait for it.
            await trio.run_process([sys.executable, "-m", "benchmarks.uploads", server.url, str(megabytes)])
            seconds = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    return Upload(seconds=seconds, growth=memory.growth, before=before, meanwhile=took)


async def _read(url: str, job_id: str, number: int, took: list[float]) -> None:
    await trio.sleep(number * PAUSE / READERS)
    async with wire(url) as connection:
        for path in islice(cycle(PATHS), number, None):
            asked = request("GET", path.format(job_id))
            began = time.perf_counter()
            status, body = await connection.ask(asked)
            took.append(time.perf_counter() - began)
            if status != 200:
                raise RuntimeError(f"answered {status}: {body[:500]!r}")
            await trio.sleep(PAUSE)


def upload(url: str, megabytes: int) -> None:
    """Send a batch of that size as fast as it is taken."""
    params = {"model": "claude-haiku-5-5", "max_tokens": 16, "messages": [{"role": "user", "content": "x" * 860}]}
    fixed = msgspec.json.encode(params)
    count = megabytes * MEGABYTE // ITEM

    def pages() -> Iterator[bytes]:  # of 64 lines each
        for first in range(0, count, 64):
            numbers = range(first, min(first + 64, count))
            yield b"".join([b'{"custom_id":"item-%07d","params":%b}\n' % (n, fixed) for n in numbers])

    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/x-ndjson"}
    answer = httpx2.post(f"{url}/v1/batches", content=pages(), headers=headers, timeout=300)
    if answer.status_code != 202:
        raise RuntimeError(f"answered {answer.status_code}: {answer.text[:500]}")


if __name__ == "__main__":
    upload(sys.argv[1], int(sys.argv[2]))
