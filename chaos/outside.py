"""Receivers that are slow or dead, addresses that nobody may reach, and backups under load."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.processes.harness import Process, await_end, provider_batches, request_lines, run, submit
from tests.processes.receiver import Receiver

from chaos.arena import Arena, arena
from chaos.ledger import Violation
from chaos.outcome import Outcome, mostly_within, since

HEALTHY_LIMIT = 5.0  # seconds from a job's end to its webhook, whoever else does not answer
SLOW = 2.0  # seconds that a slow receiver takes
WEB_PORTS = (8080, 8443, 80, 443)
SPELLINGS = (
    "http://127.0.0.1:{}/", "http://localhost:{}/", "http://[::1]:{}/", "http://2130706433:{}/", "http://0x7f.1:{}/",
    "http://0177.0.0.1:{}/", "http://[::ffff:127.0.0.1]:{}/", "http://0.0.0.0:{}/", "http://127.1:{}/",
)  # fmt: skip


@contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[int, list[str]]]:
    """A port that takes connections and never says a word, and who came."""
    came: list[str] = []
    held = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:

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


def bad_receivers(jobs: int) -> Outcome:
    """A third of the receivers take connections and never answer, a third is slow; the others hear in time."""
    healthy, slow = Receiver(), Receiver()
    slow.delay = SLOW
    with arena(None, forked=True) as found, black_hole() as (port, came), healthy, slow:
        server = found.start().ready()
        urls = (healthy.url, f"http://127.0.0.1:{port}/", slow.url)
        with server.client() as client:
            made = [submit(client, request_lines(2), callback_url=urls[n % 3]) for n in range(jobs)]
            ended = {job["id"]: _ended_at(await_end(client, job["id"])) for job in made[::3]}
        _await_all(healthy, ended.keys())
        if not came or not slow.arrivals:
            raise Violation(f"{len(came)} calls of the dead receiver, {len(slow.arrivals)} of the slow one")
        first = {arrival.body["job_id"]: arrival.at for arrival in reversed(healthy.arrivals)}
        waits = [since(at, first[job_id], "a webhook") for job_id, at in ended.items()]
        figures = mostly_within(HEALTHY_LIMIT, waits, "end → webhook beside bad receivers")
        return Outcome(figures | {"calls into the black hole": len(came), "slow answers": len(slow.arrivals)})


def _await_all(receiver: Receiver, wanted: Set[str]) -> None:
    until = time.monotonic() + 60
    while missing := wanted - {body["job_id"] for body in receiver.bodies}:
        if time.monotonic() > until:
            raise Violation(f"{len(missing)} of {len(wanted)} jobs were never told to a healthy receiver")
        time.sleep(0.05)


def _ended_at(job: dict[str, Any]) -> float:
    return datetime.fromisoformat(job["completed_at"]).timestamp()


def sentinels() -> Outcome:
    """No spelling of a loopback address is ever connected to, unless the settings allow private networks; and where a
    receiver points to is not connected to even then.
    """
    with arena(None, forked=True) as found, _sentinel() as (port, came), Receiver() as pointing:
        server = found.start(environ={"BACKBURNER_CALLBACK_ALLOW_PRIVATE_NETWORKS": "false"}).ready()
        spellings = [*SPELLINGS, *(f"http://{name}:{{}}/" for name in _names())]
        answers = [_called(server, spelling.format(port)) for spelling in spellings]
        _require_nobody(came, "a forbidden address was connected to")
        server.kill()
        server = found.start().ready()
        pointing.status, pointing.location = 302, SPELLINGS[0].format(port)
        _called(server, pointing.url)
        pointing.await_one()
        time.sleep(1)
        _require_nobody(came, "a redirection was followed")
        heard = _require_heard(server, port, came)
        return Outcome(
            {
                "spellings": len(spellings),
                "refused at once": answers.count(None),
                "refused when they were resolved": len(answers) - answers.count(None),
                "connections": 0,
                "connections once they are allowed, by family": heard,
            }
        )


@contextmanager
def _sentinel() -> Iterator[tuple[int, dict[str, list[str]]]]:
    """A port of web servers on both loopback addresses, and who came to each. Other ports are refused by number."""
    with ExitStack() as stack:
        for port in WEB_PORTS:
            with contextlib.suppress(OSError), ExitStack() as attempt:
                came = {"IPv4": attempt.enter_context(black_hole("127.0.0.1", port))[1]}
                if _has_ipv6():
                    came["IPv6"] = attempt.enter_context(black_hole("::1", port))[1]
                stack.enter_context(attempt.pop_all())
                yield port, came
                return
        raise AssertionError(f"none of the ports {WEB_PORTS} is free")


def _names() -> list[str]:
    """Of this machine's loopback addresses, beside localhost: only who resolves them knows that they are forbidden."""
    lines = [line.partition("#")[0].split() for line in Path("/etc/hosts").read_text().splitlines()]
    names = {name for address, *names in filter(None, lines) if address in ("127.0.0.1", "::1") for name in names}
    return sorted(name for name in names if name.rpartition(".")[2] != "localhost")


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


def _require_nobody(came: Mapping[str, list[str]], what: str) -> None:
    if any(came.values()):
        raise Violation(f"{what}: {dict(came)}")


def _require_heard(server: Process, port: int, came: Mapping[str, list[str]]) -> dict[str, int]:
    """That the sentinel would have noticed: it does where private networks are allowed."""
    for host in ("127.0.0.1", "[::1]")[: len(came)]:
        _called(server, f"http://{host}:{port}/")
    until = time.monotonic() + 20
    while not all(came.values()):
        if time.monotonic() > until:
            raise Violation(f"the sentinel hears nothing: {dict(came)}")
        time.sleep(0.05)
    return {family: len(visitors) for family, visitors in came.items()}


def _called(server: Process, url: str) -> str | None:
    """The job that has ended and whose webhook was attempted, or None when its URL is refused at once."""
    headers = {"content-type": "application/x-ndjson"}
    with server.client() as client:
        answer = client.post("/v1/batches", content=request_lines(1), params={"callback_url": url}, headers=headers)
        if answer.status_code == 422:
            return None
        job_id = str(answer.raise_for_status().json()["id"])
        await_end(client, job_id)
        until = time.monotonic() + 20
        while not any(each["attempts"] for each in client.get(f"/v1/jobs/{job_id}/deliveries").json()["data"]):
            if time.monotonic() > until:
                raise Violation(f"no webhook was attempted to {url}")
            time.sleep(0.05)
    return job_id


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
