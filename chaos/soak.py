"""`python -m chaos.soak`: load for a long time and a slow provider; what a server holds must stay flat."""

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
from typing import Any, Self

import attrs
import httpx2
import psycopg
from tests.postgres import PostgresServer, running_server
from tests.processes.harness import KEY, Process

from chaos.arena import Arena, arena
from chaos.office import database_file, epoch_of, leader_pid

EVERY = 1.0  # seconds between samples
KILL_EVERY = 20.0  # seconds between the kills of another instance, on PostgreSQL
PAGE = os.sysconf("SC_PAGE_SIZE")
MEBIBYTE = 1024 * 1024
#: By how much the last third of a run may lie above the middle third, beside three times the noise of that.
TOLERANCE = {"memory, MiB": 8.0, "descriptors": 5.0, "threads": 5.0, "tasks": 8.0, "connections": 5.0, "WAL, MiB": 64.0}
FEWEST = 5  # samples in each third
SLOPE_AFTER = 1790.0  # seconds: a run of half an hour; memory is warm after some forty changes of leadership
#: By how much the last two thirds of a run may rise in an hour.
STEEPEST = {
    "memory, MiB": 30.0,
    "descriptors": 20.0,
    "threads": 20.0,
    "tasks": 30.0,
    "connections": 20.0,
    "WAL, MiB": 200.0,
}


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
        """A line for people, and whether it is known to have stayed flat. The first third is the start-up's."""
        third = len(self.values) // 3
        if third < FEWEST:
            return f"{self.name:<14} TOO FEW SAMPLES: {len(self.values)}", False
        middle, last = self.values[third : 2 * third], self.values[2 * third :]
        noise = median([abs(value - median(middle)) for value in middle])
        grew = median(last) - median(middle) > max(TOLERANCE[self.name], 3 * noise)
        slope, rises = self._slope(third, noise)
        text = f"{self.name:<14} {median(middle):>9.1f} → {median(last):>9.1f}   {slope}"
        return text + ("   GREW" if grew or rises else ""), not (grew or rises)

    def _slope(self, start: int, noise: float) -> tuple[str, bool]:
        """Words about it, and whether it rises too steeply; a short run is warming up and tells nothing."""
        seconds = self.at[-1] - self.at[0]
        if seconds < SLOPE_AFTER:
            return "too short to judge a slope", False
        slope = linear_regression(self.at[start:], self.values[start:]).slope
        rises = slope * 3600 > STEEPEST[self.name] and slope * (self.at[-1] - self.at[start]) > 3 * noise
        return f"{slope * 3600:>+10.1f} an hour", rises


@attrs.define(eq=False)
class Killer:
    """Has another instance come, lead for a while and die, again and again, in a thread while the block runs."""

    found: Arena
    kills: int = attrs.field(default=0, init=False)
    _over: threading.Event = attrs.field(factory=threading.Event, init=False)
    _error: BaseException | None = attrs.field(default=None, init=False)
    _thread: threading.Thread = attrs.field(init=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Raises what has ended the thread."""
        self._over.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._over.wait(KILL_EVERY / 2):
                self._kill_another()
        except BaseException as error:  # raised again where the block ends
            self._error = error
            self._over.set()

    def _kill_another(self) -> None:
        epoch = epoch_of(self.found.database)
        other = self.found.start().ready()
        with httpx2.Client(headers={"authorization": f"Bearer {KEY}"}, timeout=20.0) as client:
            client.post(f"{self.found.url}/v1/admin/scheduler/step-down").raise_for_status()
        leader_pid(self.found.database, after=epoch)
        self._over.wait(KILL_EVERY / 2)
        other.kill()
        self.kills += 1


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
    """Whether everything stayed flat; prints lines. On SQLite nobody is killed: there is one server."""
    with arena(database, forked=True, batch_seconds="1-8") as found, ExitStack() as clients:
        server = found.start().ready()
        found.url = server.url
        measured = series_of(found, server)
        clients.enter_context(found.workload(open_jobs=20))
        killer = None if found.is_sqlite else clients.enter_context(Killer(found))
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            for each in measured:
                each.sample(now)
            time.sleep(EVERY)
        clients.close()
        return _told(found, server, measured, killer.kills if killer else 0)


def _told(found: Arena, server: Process, measured: Sequence[Series], kills: int) -> bool:
    figures: dict[str, Any] = {"kills of another server": kills} | found.audit(server)
    print(f"{'sqlite' if found.is_sqlite else 'postgresql'}: {figures}")
    verdicts = [each.verdict() for each in measured]
    for text, _ in verdicts:
        print(f"    {text}")
    if not found.is_sqlite and not kills:
        print("    NOBODY WAS KILLED: too short")
        return False
    return all(flat for _, flat in verdicts)


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
