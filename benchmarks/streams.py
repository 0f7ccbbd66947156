"""Live streams: how long after a change its event arrives, and what idle listeners cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial

import msgspec
import trio

from benchmarks.front import NEW
from benchmarks.places import fresh
from benchmarks.report import Options, Row, percentile
from benchmarks.watching import Watched, processor_time, watched_server
from benchmarks.wire import request, wire

EVENTS = 20
PAUSE = 1.0  # between two changes: they are not to be coalesced
IDLE = 10.0
SETTLE = 10.0  # after its start a server loads what it did not need for it
FEW = 10  # listeners at another instance
FOLLOW = request("GET", "/v1/events")
_UPDATED = b'"updated_at":"'


def measure(options: Options) -> list[Row]:
    rows: list[Row] = []
    for database in options.databases:
        with fresh(database) as (folder, url), watched_server(folder, _environ(url)) as server:
            delays, alone, idle = trio.run(_followed, server, server, options.listeners)
            what = f"{options.listeners:,} listeners, {database}"
            rows += _rows(f"commit → event at {what}", delays)
            shares = {"ours": 100 * idle, "raw": 100 * alone}
            rows.append(Row(what=f"idle with {what}", unit="% of a core", raw_name="none", better="less", **shares))
    if "postgresql" in options.databases:
        rows += _across(options)
    return rows


def _environ(url: str) -> dict[str, str]:
    return {"BACKBURNER_DATABASE_URL": url, "BACKBURNER_POLL_RUNNING_LLM_BATCHES_INTERVAL_SECONDS": "60"}


def _across(options: Options) -> list[Row]:
    with (
        fresh("postgresql") as (folder, url),
        watched_server(folder, _environ(url)) as first,
        watched_server(folder, _environ(url)) as second,
    ):
        delays, _, _ = trio.run(_followed, first, second, min(FEW, options.listeners))
    return _rows("commit at one instance → event at another, by NOTIFY", delays)


def _rows(what: str, delays: list[float]) -> list[Row]:
    row: Callable[..., Row] = partial(Row, unit="ms", better="less")
    return [
        row(what=f"{what}, p50", ours=1000 * percentile(delays, 0.5)),
        row(what=f"{what}, p99", ours=1000 * percentile(delays, 0.99)),
    ]


async def _followed(changing: Watched, following: Watched, listeners: int) -> tuple[list[float], float, float]:
    """Seconds from each change to its event at each listener; the idle server's share of a core without and with them.

    The change's time is its `updated_at`, which is taken shortly before the commit.
    """
    delays: list[float] = []
    await trio.sleep(SETTLE)
    alone = await _share(following)
    async with trio.open_nursery() as nursery:
        for _ in range(listeners):
            await nursery.start(_listen, following.url, delays)
        idle = await _share(following)
        await _change(changing.url)
        nursery.cancel_scope.cancel()
    if len(delays) < listeners * EVENTS:
        raise RuntimeError(f"only {len(delays)} of {listeners * EVENTS} events came")
    return delays, alone, idle


async def _share(server: Watched) -> float:
    """How much of a core a server uses that has nothing to do."""
    await trio.sleep(1)
    used, began = processor_time(server.popen.pid), time.perf_counter()
    await trio.sleep(IDLE)
    return (processor_time(server.popen.pid) - used) / (time.perf_counter() - began)


async def _listen(
    url: str, delays: list[float], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with wire(url) as connection:
        stream = connection.stream
        await stream.send_all(FOLLOW)
        greeting = b""
        while b"\nid: " not in greeting:
            greeting += await stream.receive_some(65536)
        if not greeting.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"answered {greeting[:300]!r}")
        task_status.started()
        while data := await stream.receive_some(65536):
            now = time.time()
            for event in bytes(data).split(_UPDATED)[1:]:
                changed = datetime.fromisoformat(event.partition(b'"')[0].decode())
                delays.append(now - changed.timestamp())


async def _change(url: str) -> None:
    """Change a job again and again, and leave time for the last event."""
    async with wire(url) as connection:
        _, body = await connection.ask(NEW)
        job_id = msgspec.json.decode(body)["id"]
        for number in range(EVENTS - 1):
            await trio.sleep(PAUSE)
            await connection.ask(request("PATCH", f"/v1/jobs/{job_id}", {"metadata": {"done": number}}))
        await trio.sleep(PAUSE)
