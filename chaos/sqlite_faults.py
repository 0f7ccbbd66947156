"""What can happen to one server and its SQLite file."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx2
from tests.processes.harness import BASE, KEY, Process, run

from chaos.arena import Arena, arena
from chaos.ledger import Violation
from chaos.office import database_file
from chaos.outcome import Outcome, took

STOP_LIMIT, HASTE_LIMIT = 15.0, 4.0  # seconds for one signal, and for two
DISK = "64m"  # of which the filler leaves nothing
FOREIGN = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM jobs").fetchone()
connection.close()
"""


def disk_full(*, calm: bool = False) -> Outcome:
    """The disk of the database is full; requests are turned away; then there is space again.

    With `calm` nothing is being submitted at that moment: the key of a submission that failed may be held for a while.
    Where no small disk may be mounted, no file of the server may grow instead, which SQLite tells in other words.
    """
    with arena(None, forked=True) as found, ExitStack() as clients, small_disk(found) as disk:
        server = found.start().ready()
        found.url = server.url
        clients.enter_context(found.workload())
        time.sleep(2)
        if calm:
            clients.close()
        with _full(disk) if disk else _no_growth(server):
            answers = _answers_when_full(server)
            if server.popen.poll() is not None:
                raise Violation("a full disk ended the server")
        clients.close()
        how = "the disk is full" if disk else "no file may grow"
        return Outcome({f"answers while {how}": answers} | found.audit(server))


@contextmanager
def small_disk(found: Arena) -> Iterator[Path | None]:
    """Put the database on a disk of its own, where this process may mount one."""
    place = found.folder / "disk"
    place.mkdir()
    if not _mounted(place):
        yield None
        return
    found.database = f"sqlite:///{place}/jobs.db"
    try:
        yield place
    except Exception:
        shutil.copytree(place, found.folder / "kept-disk")
        raise
    finally:
        subprocess.run(("umount", "--lazy", str(place)), check=True)  # servers may still have files open


def _mounted(place: Path) -> bool:
    if os.geteuid() != 0 or not shutil.which("mount"):
        return False
    command = ("mount", "-t", "tmpfs", "-o", f"size={DISK}", "backburner-chaos", str(place))
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@contextmanager
def _full(disk: Path) -> Iterator[None]:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def _no_growth(server: Process) -> Iterator[None]:
    resource.prlimit(server.popen.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    yield
    resource.prlimit(server.popen.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _answers_when_full(server: Process) -> dict[str, int]:
    answers: dict[str, int] = {}
    for _ in range(20):
        body = {"job_type": "job", "metadata": {"fill": "x" * 500}}
        headers = {"authorization": f"Bearer {KEY}"}
        answer = httpx2.post(f"{server.url}/v1/jobs", json=body, headers=headers, timeout=30.0)
        if answer.status_code not in (201, 202, 503):
            raise Violation(f"with a full disk a request was answered {answer.status_code}: {answer.text}")
        answers[str(answer.status_code)] = answers.get(str(answer.status_code), 0) + 1
        time.sleep(0.05)
    if "503" not in answers:
        raise Violation("the disk was not full")
    return answers


def foreign_process(rounds: int) -> Outcome:
    """Others open, read, lock and close the file while a server writes and is killed; what was acknowledged stays."""
    with arena(None, forked=True) as found, ExitStack() as clients:
        server = found.start().ready()
        found.url = server.url
        clients.enter_context(found.workload())
        refused = run(found.folder, "serve", "--database", found.database, environ=BASE)
        if refused.returncode != 1 or str(server.popen.pid) not in refused.stderr:
            raise Violation(f"a second server was not refused: {refused.stderr}")
        for _ in range(rounds):
            _read_elsewhere(found)
            _lock_elsewhere(found, 2.0)
            _read_elsewhere(found)
            server.kill()
            server = found.start().ready()
            found.url = server.url
        clients.close()
        return Outcome({"kills after a foreign process": rounds} | found.audit(server))


def _read_elsewhere(found: Arena) -> None:
    subprocess.run([sys.executable, "-c", FOREIGN, str(database_file(found.database))], check=True, timeout=60)


def _lock_elsewhere(found: Arena, seconds: float) -> None:
    """As a careless backup does: the server's writers have to wait."""
    with closing(sqlite3.connect(database_file(found.database), timeout=10, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")


def sigterm(rounds: int) -> Outcome:
    """SIGTERM under load ends in order and in time; two signals end at once; nothing is lost by either."""
    with arena(None) as found, ExitStack() as clients:
        server = found.start().ready()
        found.url = server.url
        clients.enter_context(found.workload())
        orderly: list[float] = []
        hasty: list[float] = []
        for number in range(rounds * 2):
            time.sleep(2)
            began = time.monotonic()
            server.popen.send_signal(signal.SIGTERM)
            if number % 2:
                time.sleep(0.05)
                server.popen.send_signal((signal.SIGTERM, signal.SIGINT)[number % 4 // 2])
            status = server.popen.wait(60)
            (hasty if number % 2 else orderly).append(time.monotonic() - began)
            if number % 2 == 0 and status != 0:
                raise Violation(f"an ordered stop ended with status {status}")
            server = found.start().ready()
            found.url = server.url
        clients.close()
        figures = took("SIGTERM → exit", orderly) | took("two signals → exit", hasty)
        if max(orderly) > STOP_LIMIT or max(hasty) > HASTE_LIMIT:
            raise Violation(f"a stop took too long: {figures}")
        return Outcome(figures | found.audit(server))
