"""Receivers that are slow or dead, addresses that nobody may reach, and backups under load."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any

from tests.processes.harness import Process, await_end, provider_batches, request_lines, run, submit
from tests.processes.receiver import Receiver

from chaos.arena import Arena, arena
from chaos.ledger import Violation
from chaos.outcome import Outcome, took

HEALTHY_LIMIT = 5.0  # seconds from a job's end to its webhook, whoever else does not answer
SPELLINGS = (
    "http://127.0.0.1:{}/", "http://localhost:{}/", "http://[::1]:{}/", "http://2130706433:{}/", "http://0x7f.1:{}/",
    "http://0177.0.0.1:{}/", "http://[::ffff:127.0.0.1]:{}/", "http://0.0.0.0:{}/", "http://127.1:{}/",
)  # fmt: skip


@contextmanager
def black_hole() -> Iterator[tuple[int, list[str]]]:
    """A port that takes connections and never says a word, and who came."""
    came: list[str] = []
    held = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, address = listener.accept()
                    held.append(client)
                    came.append(str(address))

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield int(listener.getsockname()[1]), came
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for each in held:
                each.close()


def dead_receivers(jobs: int) -> Outcome:
    """Half of the receivers take connections and never answer; the other half hears in time."""
    came_at: list[float] = []
    healthy = Receiver(lambda: came_at.append(time.time()))
    with arena(None, forked=True) as found, black_hole() as (port, came), healthy:
        server = found.start().ready()
        with server.client() as client:
            made = [
                submit(client, request_lines(2), callback_url=f"http://127.0.0.1:{port}/{n}" if n % 2 else healthy.url)
                for n in range(jobs)
            ]
            ended = {job["id"]: _ended_at(await_end(client, job["id"])) for job in made[::2]}
        until = time.monotonic() + 60
        while len(healthy.bodies) < len(ended) and time.monotonic() < until:
            time.sleep(0.05)
        waits = [at - ended[body["job_id"]] for at, body in zip(came_at, healthy.bodies, strict=False)]
        if len(waits) < len(ended) or sorted(waits)[int(len(waits) * 0.95)] > HEALTHY_LIMIT:
            raise Violation(f"healthy receivers waited {max(waits):.1f} s, {len(ended) - len(waits)} for ever")
        return Outcome(took("end → webhook beside dead receivers", waits) | {"calls into the black hole": len(came)})


def _ended_at(job: dict[str, Any]) -> float:
    return datetime.fromisoformat(job["completed_at"]).timestamp()


def sentinels() -> Outcome:
    """No spelling of a loopback address is ever connected to, unless the settings allow private networks."""
    strict = {"BACKBURNER_CALLBACK_ALLOW_PRIVATE_NETWORKS": "false"}
    with arena(None, forked=True) as found, black_hole() as (port, came):
        server = found.start(environ=strict).ready()
        refused = 0
        with server.client() as client:
            for spelling in SPELLINGS:
                answer = client.post(
                    "/v1/batches",
                    content=request_lines(1),
                    params={"callback_url": spelling.format(port)},
                    headers={"content-type": "application/x-ndjson"},
                )
                refused += answer.status_code == 422
                if answer.status_code == 202:
                    await_end(client, answer.json()["id"])
        time.sleep(3)
        if came:
            raise Violation(f"a forbidden address was connected to: {came}")
        return Outcome({"spellings": len(SPELLINGS), "refused at once": refused, "connections": 0})


def restored() -> Outcome:
    """A backup under load; the work goes on; the backup is put back; nothing is paid for twice."""
    with arena(None, forked=True, batch_seconds="2") as found, ExitStack() as clients:
        limits = {"BACKBURNER_PROVIDER_MAX_QUEUED_ITEMS": "40"}
        server = found.start(environ=limits).ready()
        found.url = server.url
        clients.enter_context(found.workload())
        with server.client() as client:
            known = submit(client, request_lines(200), chunk_items="20", callback_url=found.receiver.url)
            while client.get(f"/v1/jobs/{known['id']}").json()["status"] == "pending":
                time.sleep(0.02)
            _backed_up(found)
            while client.get(f"/v1/jobs/{known['id']}").json()["provider_batches"]["ended"] < 5:
                time.sleep(0.05)
        clients.close()
        server.kill()
        done = run(found.folder, "db", "restore", "--database", found.database, str(found.folder / "backup.db"))
        if done.returncode:
            raise Violation(f"the restore failed: {done.stderr}")
        server = found.start(environ=limits).ready()
        return Outcome(_after_restore(found, server, known["id"]) | {"restore": done.stdout.splitlines()[0]})


def _backed_up(found: Arena) -> None:
    done = run(found.folder, "db", "backup", "--database", found.database, str(found.folder / "backup.db"))
    if done.returncode:
        raise Violation(f"the backup failed: {done.stderr}")


def _after_restore(found: Arena, server: Process, known: str) -> dict[str, Any]:
    """Jobs that were accepted after the backup are gone; of the others nothing is, and no item was billed twice."""
    with server.client() as client:
        there = {row["id"] for row in client.get("/v1/jobs?limit=1000").json()["data"]}
        ended = await_end(client, known)
        if ended["request_counts"]["succeeded"] != 200:
            raise Violation(f"the restored job ended with {ended['request_counts']}")
    lost = found.ledger.jobs.keys() - there
    lost_items = sum(len(found.ledger.jobs.pop(job_id)) for job_id in lost)
    for job_id in there - {known} - found.ledger.jobs.keys():
        raise Violation(f"{job_id} is there and was never accepted")
    found.ledger.jobs[known] = [f"item-{number}" for number in range(200)]
    figures = found.ledger.audit(server, found.provider, found.receiver, strangers=lost_items)
    found.check_database()
    return figures | {
        "jobs after the backup": len(lost),
        "batches at the provider": len(provider_batches(found.provider)),
    }
