"""One polling cycle over many running batches."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
import trio

from backburner.pace import Pace
from backburner.storage.database import Database
from backburner.storage.facts import LAST_CYCLE, get_fact
from backburner.storage.tables import provider_batches
from benchmarks.instance import CLOCK, SlowProvider, open_batches, prepared, quiet, running
from benchmarks.places import fresh
from benchmarks.report import Options, Row, middle, repeated

BATCHES = 10_000
LATENCY = 0.02
POLLERS = 64
PACE = Pace(interval=3600, jitter=0, poll_concurrency=POLLERS)


def measure(options: Options) -> list[Row]:
    rows = []
    for database in options.databases:
        for lists in (False, True):
            runs = repeated(partial(_run, database, lists), options.runs)
            rows += _rows(database, lists, middle(took for took, _ in runs), middle(trips for _, trips in runs))
    return rows


def _rows(database: str, lists: bool, took: float, trips: float) -> list[Row]:
    how = "listed by the thousand" if lists else "one by one"
    ideal = LATENCY * BATCHES / (1000 if lists else POLLERS)
    # Once per page each time: design asks for 1.3 times the ideal of looking at one by one, listed or not.
    limit = {"target": 1.3 * LATENCY * BATCHES / POLLERS} if lists else {"ratio_target": 1.3}
    what = f"cycle over {BATCHES:,} batches, {how}, {database}"
    return [
        Row(what=what, unit="s", ours=took, raw=ideal, raw_name="waiting alone", better="less", **limit),
        Row(what=f"{what}: statements", unit="", ours=trips, raw=BATCHES, raw_name="batches", better="less"),
    ]


def _run(database: str, lists: bool) -> tuple[float, float]:
    with fresh(database) as (_, url), closing(prepared(url)) as opened:
        return trio.run(_cycle, opened, lists)


async def _cycle(database: Database, lists: bool) -> tuple[float, float]:
    """Seconds of the cycle, and statements sent to the database meanwhile."""
    quiet()
    later = CLOCK.now() + timedelta(days=1)
    await open_batches(database, BATCHES, lambda _: later)
    statements = 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    for engine in {database.writing, database.reading}:
        sa.event.listen(engine, "before_cursor_execute", count)
    async with running(database, SlowProvider(LATENCY, lists), PACE) as system:
        await _cycles_of(database, 0)
        await database.write(_make_due, CLOCK.now())
        statements = 0
        system.poll_now()
        summary = await _cycles_of(database, BATCHES)
        return summary["duration_seconds"], statements


def _make_due(tx: sa.Connection, now: datetime) -> None:
    tx.execute(sa.update(provider_batches).values(next_poll_at=now))


async def _cycles_of(database: Database, batches: int) -> dict[str, Any]:
    """The summary of the first cycle that is over so many batches."""
    while True:
        await trio.sleep(0.05)
        summary: dict[str, Any] | None = await database.read(get_fact, LAST_CYCLE)
        if summary is not None and summary["total_batches"] == batches:
            return summary
