"""From the death of a leader to the first fenced write of the next, on PostgreSQL."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
from tests.processes.harness import Process, serve

from benchmarks.places import fresh
from benchmarks.report import Options, Row, middle, percentile
from benchmarks.watching import processor_time

KILLS = 10
ENOUGH = 120.0  # seconds after which no further leader is killed
CALM = 0.02  # seconds of processor time in half a second: a standby has loaded everything that it needs to lead
GIVE_UP = 30.0
LAST_WRITE = """
    SELECT extract(epoch FROM term.acquired_at), extract(epoch FROM facts.updated_at)
    FROM server_facts facts, leader_epoch term
    WHERE facts.name = 'last_cycle' AND term.epoch > %s AND facts.updated_at >= term.acquired_at
"""


def measure(options: Options) -> list[Row]:
    if "postgresql" not in options.databases:
        return []
    with fresh("postgresql") as (folder, url):
        took = _kills(folder, url)
    terms, writes = zip(*took, strict=True)
    return [
        Row(what="SIGKILL of the leader → next term, PostgreSQL, p50", unit="s", ours=middle(terms), better="less"),
        Row(what="SIGKILL of the leader → first fenced write, p50", unit="s", ours=middle(writes), better="less"),
        Row(
            what="SIGKILL of the leader → first fenced write, p95",
            unit="s",
            ours=percentile(writes, 0.95),
            target=2.0,
            better="less",
        ),
    ]


def _kills(folder: Path, url: str) -> list[tuple[float, float]]:
    took: list[tuple[float, float]] = []
    with ExitStack() as stack, psycopg.connect(url, autocommit=True) as connection:

        def start() -> Process:
            return stack.enter_context(serve(folder, "--database", url, "--log-level", "error"))

        leader, standby = start(), start()
        until = time.monotonic() + ENOUGH
        while len(took) < KILLS and time.monotonic() < until:
            _await_calm(standby)
            took.append(_kill(connection, leader))
            leader, standby = standby, start()
    return took


def _await_calm(process: Process) -> None:
    until = time.monotonic() + GIVE_UP
    while time.monotonic() < until:
        before = processor_time(process.popen.pid)
        time.sleep(0.5)
        if processor_time(process.popen.pid) - before <= CALM:
            return


def _kill(connection: psycopg.Connection, leader: Process) -> tuple[float, float]:
    """Seconds until the next term began and until its leader wrote: the report of its first cycle."""
    row = connection.execute("SELECT epoch FROM leader_epoch").fetchone()
    assert row is not None
    killed = time.time()
    leader.kill()
    while (written := connection.execute(LAST_WRITE, row).fetchone()) is None:
        if time.time() - killed > GIVE_UP:
            raise RuntimeError("nobody took over")
        time.sleep(0.005)
    return float(written[0]) - killed, float(written[1]) - killed
