"""Thousands of small jobs, two servers on one queue, and kill -9 of one of them in the middle."""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import httpx2
from tests.postgres import PostgresServer
from tests.processes.harness import Process, listed

from chaos.arena import Arena, arena
from chaos.ledger import Violation
from chaos.outcome import Outcome

LEASE = 5.0  # seconds for which a job stays with a server that is not heard of
CLIENTS = 8
LATEST = 300.0  # seconds for everything to end

#: Jobs wait for the file `go`, so that all are queued before the first runs. Each writes down who began and ended it.
APP = """
    import os
    import pathlib
    import trio
    from backburner import App

    app = App()
    go = pathlib.Path("go")
    diary = pathlib.Path("diary.txt").open("a", buffering=1)

    @app.handler("small", backoff_seconds=0.1)
    async def small(ctx) -> int:
        while not go.exists():
            await trio.sleep(0.1)
        diary.write(f"begun {ctx.job_id} {ctx.attempt} {os.getpid()}\\n")
        await trio.sleep(0.01)
        diary.write(f"ended {ctx.job_id} {ctx.attempt} {os.getpid()}\\n")
        return ctx.attempt
"""


def many_jobs(database: PostgresServer | None, count: int, *, forked: bool = True) -> Outcome:
    """Every job ends completed, once. On SQLite there is one server, which is killed and started again."""
    with arena(database, forked=forked) as found:
        (found.folder / "many_app.py").write_text(textwrap.dedent(APP))
        servers = [_start(found)] if found.is_sqlite else [_start(found), _start(found)]
        _submit(servers, count)
        (found.folder / "go").touch()
        began = time.monotonic()
        diary = found.folder / "diary.txt"
        _await(lambda: _lines(diary, "ended") >= count // 2, "half of the jobs")
        servers[0].kill()
        killed = time.monotonic()
        survivor = _start(found) if found.is_sqlite else servers[1]
        with survivor.client() as client:
            _await(lambda: _is_empty(client), "the queue to be empty")
            seconds = time.monotonic() - began
            jobs = list(listed(client, "/v1/jobs?job_type=job&order=asc"))
        found.check_database()
        return Outcome(
            _audit(jobs, read(diary), count)
            | {
                "jobs/s, the kill and the lease included": round(count / seconds),
                "seconds from the kill to the end": round(time.monotonic() - killed, 1),
            }
        )


def _start(found: Arena) -> Process:
    environ = {"BACKBURNER_JOB_LEASE_SECONDS": str(LEASE)}
    return found.start("--app", "many_app:app", environ=environ).ready()


def _submit(servers: list[Process], count: int) -> None:
    def post(client: int) -> None:
        with servers[client % len(servers)].client() as connection:
            for _ in range(client, count, CLIENTS):
                connection.post("/v1/jobs", json={"handler": "small", "input": {}}).raise_for_status()

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(post, range(CLIENTS)))


def _await(condition: Any, what: str) -> None:
    until = time.monotonic() + LATEST
    while not condition():
        if time.monotonic() > until:
            raise Violation(f"waited {LATEST:.0f} s for {what}")
        time.sleep(0.1)


def _lines(diary: Path, word: str) -> int:
    return diary.read_text().count(word) if diary.exists() else 0


def _is_empty(client: httpx2.Client) -> bool:
    queue = client.get("/v1/admin/scheduler/status").raise_for_status().json()["queue"]
    return bool(queue["waiting"] + queue["claimed"] == 0)


@attrs.frozen
class Diary:
    """How often each attempt began and ended, by job; and who ended how many."""

    begun: Counter[tuple[str, int]] = attrs.field(factory=Counter)
    ended: Counter[tuple[str, int]] = attrs.field(factory=Counter)
    by_server: Counter[str] = attrs.field(factory=Counter)


def read(path: Path) -> Diary:
    diary = Diary()
    for line in path.read_text().splitlines():
        word, job_id, attempt, pid = line.split()
        getattr(diary, word)[job_id, int(attempt)] += 1
        diary.by_server[pid] += word == "ended"
    return diary


def _audit(jobs: list[dict[str, Any]], diary: Diary, count: int) -> dict[str, Any]:
    """Raises Violation."""
    states = Counter(job["status"] for job in jobs)
    if states != {"completed": count}:
        raise Violation(f"{count} jobs were made, there are {dict(states)}")
    twice = [attempt for attempt, times in diary.begun.items() if times > 1]
    if twice:
        raise Violation(f"begun twice: {twice[:5]}")
    for job in jobs:
        last = max(attempt for job_id, attempt in _attempts(diary, job["id"]))
        if job["result"] != last or not diary.ended[job["id"], last]:
            raise Violation(f"{job['id']} has the result {job['result']}, its last attempt is {last}")
    attempts = Counter(job["result"] for job in jobs)
    return {
        "jobs, each completed once": count,
        "jobs by the attempt that completed them": dict(sorted(attempts.items())),
        "attempts begun": sum(diary.begun.values()),
        "attempts that had ended and were made again": sum(diary.ended.values()) - count,
        "ended by each server": sorted(diary.by_server.values(), reverse=True),
    }


def _attempts(diary: Diary, job_id: str) -> list[tuple[str, int]]:
    return [(job_id, attempt) for attempt in range(1, 10) if diary.begun[job_id, attempt]]
