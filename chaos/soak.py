"""`python -m chaos.soak`: load for a long time, with kills and a slow provider; what a server holds must stay flat."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import attrs
import httpx2
import psycopg
from tests.postgres import PostgresServer, running_server
from tests.processes.harness import KEY, Process

from chaos.arena import Arena, arena
from chaos.office import database_file

EVERY = 1.0  # seconds between samples
KILL_EVERY = 20.0  # seconds between the kills of the other instance
PAGE = os.sysconf("SC_PAGE_SIZE")
MEBIBYTE = 1024 * 1024
#: By how much the last third of a run may lie above the middle third, beside three times the noise of that.
TOLERANCE = {"memory, MiB": 8.0, "descriptors": 5.0, "threads": 5.0, "tasks": 8.0, "connections": 5.0, "WAL, MiB": 64.0}


@attrs.define(eq=False)
class Series:
    """What was measured of one thing."""

    name: str
    look: Callable[[], float | None]
    at: list[float] = attrs.field(factory=list)
    values: list[float] = attrs.field(factory=list)

    def sample(self, now: float) -> None:
        value = self.look()
        if value is not None:
            self.at.append(now)
            self.values.append(value)

    def verdict(self) -> tuple[str, bool]:
        """A line for people, and whether it grew beyond noise. The first third is the start-up's."""
        third = len(self.values) // 3
        middle, last = self.values[third : 2 * third], self.values[2 * third :]
        if third < 3:
            return f"{self.name:<14} too few samples", False
        noise = median([abs(value - median(middle)) for value in middle])
        growth = median(last) - median(middle)
        slope = linear_regression(self.at[third:], self.values[third:]).slope * 3600
        grew = growth > max(TOLERANCE[self.name], 3 * noise)
        text = f"{self.name:<14} {median(middle):>9.1f} → {median(last):>9.1f}   {slope:>+10.1f} an hour"
        return text + ("   GREW" if grew else ""), grew


def series_of(found: Arena, server: Process) -> list[Series]:
    """Everything that is measured of one server."""
    proc = Path(f"/proc/{server.popen.pid}")
    made = [
        Series("memory, MiB", lambda: int((proc / "statm").read_text().split()[1]) * PAGE / MEBIBYTE),
        Series("descriptors", lambda: float(len(list((proc / "fd").iterdir())))),
        Series("threads", lambda: float(len(list((proc / "task").iterdir())))),
        Series("tasks", lambda: _tasks(server.url)),
    ]
    if found.is_sqlite:
        wal = database_file(f"{found.database}-wal")
        return [*made, Series("WAL, MiB", lambda: wal.stat().st_size / MEBIBYTE if wal.exists() else 0.0)]
    return [*made, Series("connections", lambda: _connections(found.database))]


def _tasks(url: str) -> float | None:
    headers = {"authorization": f"Bearer {KEY}"}
    with contextlib.suppress(httpx2.HTTPError):
        answer = httpx2.get(f"{url}/v1/admin/scheduler/status", headers=headers, timeout=10.0)
        if answer.status_code == 200:
            return float(answer.json()["background_tasks"])
    return None


def _connections(url: str) -> float:
    """Of servers that live: those of the killed are gone when PostgreSQL has noticed."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'back%'"
        ).fetchone()
    assert row is not None
    return float(row[0])


def soak(database: PostgresServer | None, seconds: float) -> bool:
    """Whether everything stayed flat; prints lines."""
    with arena(database, forked=True, batch_seconds="1-8") as found, ExitStack() as clients:
        server = found.start().ready()
        found.url = server.url
        measured = series_of(found, server)
        over = threading.Event()
        clients.enter_context(found.workload(open_jobs=20))
        killer = threading.Thread(target=_kill_others, args=(found, over), daemon=True)
        if not found.is_sqlite:
            killer.start()
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            for each in measured:
                each.sample(now)
            time.sleep(EVERY)
        over.set()
        if killer.is_alive():
            killer.join()
        clients.close()
        return _told(found, server, measured)


def _kill_others(found: Arena, over: threading.Event) -> None:
    """Another instance comes, leads for a while and is killed; again and again."""
    while not over.wait(KILL_EVERY / 2):
        other = found.start().ready()
        with contextlib.suppress(httpx2.HTTPError), httpx2.Client(headers={"authorization": f"Bearer {KEY}"}) as client:
            client.post(f"{found.url}/v1/admin/scheduler/step-down")
        over.wait(KILL_EVERY / 2)
        other.kill()


def _told(found: Arena, server: Process, measured: Sequence[Series]) -> bool:
    figures: dict[str, Any] = found.audit(server)
    print(f"{'sqlite' if found.is_sqlite else 'postgresql'}: {figures}")
    verdicts = [each.verdict() for each in measured]
    for text, _ in verdicts:
        print(f"    {text}")
    return not any(grew for _, grew in verdicts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="in all, half of it on each database (10)")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    arguments = parser.parse_args()
    chosen = ("sqlite", "postgresql") if arguments.database == "both" else (arguments.database,)
    seconds = arguments.minutes * 60 / len(chosen)
    flat = []
    for kind in chosen:
        if kind == "sqlite":
            flat.append(soak(None, seconds))
        else:
            with running_server() as server:
                flat.append(soak(server, seconds))
    return 0 if all(flat) else 1


if __name__ == "__main__":
    sys.exit(main())
