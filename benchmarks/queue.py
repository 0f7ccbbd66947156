"""Background jobs: how many a second through each executor, and how soon one starts, beside another queue."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from statistics import median

import msgspec
import trio

from backburner.background import Background
from backburner.execution.executors import Executors
from backburner.model import NewJob
from backburner.pace import Pace
from backburner.states import JobType
from backburner.storage import handler_jobs
from backburner.storage.database import Database, Tx
from backburner.storage.jobs import get_job
from backburner.storage.tables import work
from backburner.system import System
from benchmarks.instance import CLOCK, IDS, SlowProvider, prepared, quiet, running
from benchmarks.places import fresh
from benchmarks.queue_functions import app
from benchmarks.report import Options, Row

JOBS = {"task": 10_000, "thread": 1_000, "process": 500}
STARTS = 30  # jobs, one after the other, of which the time to their start is taken
OTHER = "procrastinate"
OTHER_JOBS = 2_000  # that it is given; its rate does not depend on their number


def measure(options: Options) -> list[Row]:
    rows = []
    for database in options.databases:
        with fresh(database) as (_, url):
            ours = _ours(url)
            other = _other(url) if database == "postgresql" else None
        rows += _rows(database, ours, other)
    return rows


def _rows(database: str, ours: dict[str, float], other: dict[str, float] | None) -> list[Row]:
    other = other or {}
    rows = [
        Row(
            what=f"{JOBS[kind]:,} background jobs, {kind}, {database}",
            unit="jobs/s",
            ours=ours[kind],
            raw=other.get("jobs/s") if kind == "task" else None,
            raw_name=OTHER,
        )
        for kind in JOBS
    ]
    start = Row(
        what=f"from queueing a job to its start, median, {database}",
        unit="ms",
        ours=ours["start"],
        raw=other.get("start"),
        raw_name=OTHER,
        better="less",
    )
    return [*rows, start]


def _ours(url: str) -> dict[str, float]:
    with closing(prepared(url)) as database:
        return trio.run(_all, database)


async def _all(database: Database) -> dict[str, float]:
    quiet()
    background = Background(app=app, executors=Executors())
    found: dict[str, float] = {}
    for kind, count in JOBS.items():
        await database.write(_queue, [_new(kind) for _ in range(count)])
        async with running(database, SlowProvider(0, lists=True), Pace(may_lead=False), background) as system:
            began = time.perf_counter()
            await _emptied(system)
            found[kind] = count / (time.perf_counter() - began)
    async with running(database, SlowProvider(0, lists=True), Pace(may_lead=False), background) as system:
        found["start"] = median([await _start(system) for _ in range(STARTS)])
    return found


def _new(handler: str) -> NewJob:
    return NewJob(
        id=IDS.new("job"),
        job_type=JobType.JOB,
        organization_key=1,
        user_key=1,
        created_at=CLOCK.now(),
        handler=handler,
        input={},
    )


def _queue(tx: Tx, new: list[NewJob]) -> None:
    for job in new:
        handler_jobs.make_handler_job(tx, job, handler_jobs.QueueRules(3), now=CLOCK.now())


async def _emptied(system: System) -> None:
    while await system.database.read(_is_left):  # noqa: ASYNC110  # as a user would
        await trio.sleep(0.05)


def _is_left(tx: Tx) -> bool:
    return tx.execute(work.select().limit(1)).first() is not None


async def _start(system: System) -> float:
    """Milliseconds from before the job is made until it is claimed, by the database's own times."""
    queued = CLOCK.now()
    new = _new("task")
    with system.changes.listening(new.id) as ear:
        await system.database.write(_queue, [new])
        system.work()
        while (job := await system.database.read(get_job, None, new.id)).started_at is None or not job.completed_at:
            await ear.heard(1)
    return (job.started_at - queued).total_seconds() * 1000


def _other(url: str) -> dict[str, float] | None:
    """The same through another queue on the same PostgreSQL; None where it is not installed."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.other_queue", url, str(OTHER_JOBS), str(STARTS)],
        capture_output=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        print(f"{OTHER} not measured: {done.stderr.decode()[-300:]}", file=sys.stderr)
        return None
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=dict[str, float])
