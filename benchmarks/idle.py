"""What it costs to have many batches open and nothing to do."""

from __future__ import annotations

import time
from contextlib import closing

import trio

from backburner.pace import Pace
from backburner.storage.database import Database
from benchmarks.instance import CLOCK, SlowProvider, open_batches, prepared, quiet, running
from benchmarks.places import fresh
from benchmarks.report import Options, Row

BATCHES = 10_000
SETTLE = 15.0
SECONDS = 60.0  # one polling interval
PACE = Pace()


def measure(options: Options) -> list[Row]:
    rows = []
    for database in options.databases:
        with fresh(database) as (_, url), closing(prepared(url)) as opened:
            share = trio.run(_idle, opened)
        what = f"idle with {BATCHES:,} open batches, {database}"
        rows.append(Row(what=what, unit="% of a core", ours=100 * share, target=2.0, better="less"))
    return rows


async def _idle(database: Database) -> float:
    quiet()
    now = CLOCK.now()
    # After the first look old batches fall due together (`polling.next_poll`), once in the time that is watched.
    await open_batches(database, BATCHES, lambda _: now)
    async with running(database, SlowProvider(0.02, lists=True), PACE):
        await trio.sleep(SETTLE)
        began = time.process_time()
        await trio.sleep(SECONDS)
        return (time.process_time() - began) / SECONDS
