"""What the questions of each cycle and each request cost beside a short and beside a long history."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from tests.storage.both import NOW, Stock
from tests.storage.history import BATCHES, fill

from backburner.states import BatchStatus
from backburner.storage import batches, candidates, deliveries, jobs, ledger, overview, submissions, turns
from backburner.storage.database import Database
from benchmarks.instance import prepared
from benchmarks.places import fresh
from benchmarks.report import Options, Row, middle

SHORT, LONG = 10_000, 300_000  # past provider batches; of past jobs there are three times as many
OPEN = 100  # provider batches that are planned, and as many at the provider
TIMES = 20
UNSETTLED = (BatchStatus.PLANNED, *batches.UNSETTLED)

Ask = Callable[[sa.Connection], Any]
QUESTIONS: dict[str, Ask] = {
    "choose a submission": partial(candidates.submittable, now=NOW),
    "submissions to look for": lambda tx: submissions.unsettled_submissions(tx, "sandbox", now=NOW),
    "batches to poll": lambda tx: batches.due_batches(tx, "sandbox", now=NOW, limit=100),
    "when to poll next": lambda tx: batches.next_poll_time(tx, "sandbox"),
    "when to submit next": lambda tx: batches.next_poll_time(tx, "sandbox", UNSETTLED, after=NOW),
    "batches to give up": partial(batches.hopeless_batches, now=NOW, lookback=timedelta(weeks=2), limit=100),
    "deadlines that have passed": partial(jobs.past_deadline, now=NOW, limit=10),
    "when to deliver next": deliveries.next_delivery_at,
    "conversations to go on with": turns.ready_jobs,
    "tool calls to make": lambda tx: ledger.start_calls(tx, limit=64, epoch=1, now=NOW),
    "/metrics": overview.overview,
}


def measure(options: Options) -> list[Row]:
    rows: list[Row] = []
    for database in options.databases:
        short, long = (_with_history(database, past) for past in (SHORT, LONG))
        rows += [_row(f"{name}, {LONG:,} past batches, {database}", short[name], long[name]) for name in QUESTIONS]
    return rows


def _row(what: str, short: float, long: float) -> Row:
    # A fifth of a millisecond is what the clock and the other processes may take.
    limit = {"target": 1000 * (2 * short + 0.0002)}
    return Row(what=what, unit="ms", ours=1000 * long, raw=1000 * short, raw_name=f"{SHORT:,}", better="less", **limit)


def _with_history(database: str, past: int) -> dict[str, float]:
    """Seconds of each question, the median."""
    with fresh(database) as (_, url), closing(prepared(url)) as opened:
        with opened.writing.begin() as tx:
            if not opened.is_sqlite:
                tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
            fill(tx, scale=past / BATCHES)
            stock = Stock(tx)
            stock.job(OPEN, chunk=1)
            stock.submitted(stock.job(OPEN, chunk=1))
        return {name: middle(_took(opened, ask) for _ in range(TIMES)) for name, ask in QUESTIONS.items()}


def _took(database: Database, ask: Ask) -> float:
    with database.writing.connect() as tx:
        began = time.perf_counter()
        ask(tx)
        took = time.perf_counter() - began
        tx.rollback()
    return took
