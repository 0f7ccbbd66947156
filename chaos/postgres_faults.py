"""What can happen between several instances and their PostgreSQL."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import ExitStack
from typing import Any

import httpx2
import psycopg
from tests.postgres import PostgresServer, running_server
from tests.processes.harness import KEY, Process, await_end, request_lines, submit

from chaos.arena import Arena, arena
from chaos.crew import Crew
from chaos.ledger import Violation
from chaos.office import await_takeover, epoch_of, leader_pid
from chaos.outcome import Outcome, mostly_within, since, took, within
from chaos.pooler import Pooler
from chaos.proxy import Proxy

AWAY_LIMIT = 17.0  # seconds until another leads, when the leader falls silent
ENDED_LIMIT = 2.0  # seconds until somebody leads, when the leader's connection ends
INDEX_LIMIT = 5.0
BATCHES = 40  # one after the other; a statement is prepared when it comes for the sixth time
CALM = 3.0  # seconds after which a lost connection would have led to another term
HEARS = 5.0  # seconds after which a leader that was away knows that it is none
FROZEN, CUT, ENDED = (f"{what} → first fenced write" for what in ("freeze", "silent cut", "terminated"))
KINDS = ("backburner-leader/%", "backburner", "backburner-listener")


def _leads(url: str) -> dict[str, Any]:
    answer = httpx2.get(f"{url}/v1/admin/scheduler/status", headers={"authorization": f"Bearer {KEY}"}, timeout=20.0)
    return dict(answer.raise_for_status().json())


def _require_follower(url: str) -> None:
    until = time.monotonic() + HEARS
    while _leads(url)["is_leader"]:
        if time.monotonic() > until:
            raise Violation("a leader that was away still believes that it leads")
        time.sleep(0.1)


def frozen(rounds: int) -> Outcome:
    """SIGSTOP of the leader; another leads; SIGCONT, and the old one follows."""
    with running_server() as server, arena(server, forked=True) as found, ExitStack() as clients:
        crew = Crew(found, 1)
        clients.enter_context(found.workload())
        times = []
        for _ in range(rounds):
            time.sleep(1)
            epoch, began = epoch_of(found.database), time.time()
            crew.leader.popen.send_signal(signal.SIGSTOP)
            old = crew.leader
            crew.depose(epoch)
            times.append(since(began, await_takeover(found.database, epoch).written_at, FROZEN))
            old.popen.send_signal(signal.SIGCONT)
            _require_follower(old.url)
        clients.close()
        return Outcome(within(AWAY_LIMIT, times, FROZEN) | {"freezes": rounds} | found.audit(crew.leader))


def partition(rounds: int) -> Outcome:
    """The leader's way to the database falls silent; another leads; the way is healed, and the old one follows."""
    with running_server() as server, arena(server, forked=True) as found, ExitStack() as clients:
        direct = found.start().ready()
        found.url = direct.url
        clients.enter_context(found.workload())
        times = []
        for _ in range(rounds):
            with Proxy(server.port) as wire:
                behind = found.database.replace(f":{server.port}/", f":{wire.port}/")
                cut_off = found.start(database=behind).ready()
                epoch = epoch_of(found.database)
                with direct.client() as client:
                    client.post("/v1/admin/scheduler/step-down").raise_for_status()
                await_takeover(found.database, epoch)
                began = time.time()
                wire.cut()
                times.append(since(began, await_takeover(found.database, epoch + 1).written_at, CUT))
                wire.heal()
                _require_follower(cut_off.url)
                cut_off.kill()
        clients.close()
        return Outcome(within(AWAY_LIMIT, times, CUT) | {"cuts": rounds} | found.audit(direct))


def terminated(rounds: int) -> Outcome:
    """pg_terminate_backend of each kind of connection. Only the leader's own may change who leads."""
    with running_server() as server, arena(server, forked=True) as found, ExitStack() as clients:
        crew = Crew(found, 1)
        clients.enter_context(found.workload())
        admin = clients.enter_context(psycopg.connect(found.database, autocommit=True))
        times, ended = [], 0
        for number in range(rounds * len(KINDS)):
            time.sleep(1)
            kind, epoch, began = KINDS[number % len(KINDS)], epoch_of(found.database), time.time()
            ended += _terminate(admin, kind, crew.leader.popen.pid)
            if kind == KINDS[0]:
                times.append(since(began, await_takeover(found.database, epoch).written_at, ENDED))
                _follow(crew, epoch)
            else:
                _require_calm(found.database, epoch, kind)
        clients.close()
        figures = mostly_within(ENDED_LIMIT, times, ENDED) | {"connections terminated": ended}
        return Outcome(figures | found.audit(crew.leader))


def _terminate(admin: psycopg.Connection, kind: str, pid: int) -> int:
    name = kind.replace("%", f"%-{pid}")
    ended = admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s AND datname = "
        "current_database() AND pid <> pg_backend_pid()",
        (name,),
    ).fetchall()
    if not ended:
        raise Violation(f"there was no connection named {name}")
    return len(ended)


def _require_calm(database: str, epoch: int, kind: str) -> None:
    """Whoever leads goes on to lead, also when everybody has had the time to notice."""
    time.sleep(CALM)
    if epoch_of(database) != epoch:
        raise Violation(f"losing connections named {kind} changed who leads")


def _follow(crew: Crew, epoch: int) -> None:
    if leader_pid(crew.arena.database, after=epoch) != crew.leader.popen.pid:
        crew.depose(epoch)


def restarted(down: float) -> Outcome:
    """PostgreSQL stops fast, stops as by a crash, and is away for a while. The servers stay, and go on."""
    with running_server(synchronous_commit="on") as server, arena(server, forked=True) as found, ExitStack() as clients:
        crew = Crew(found, 1)
        clients.enter_context(found.workload())
        times, answers = [], []
        for number, seconds in ((signal.SIGINT, 0.0), (signal.SIGQUIT, 0.0), (signal.SIGINT, down)):
            time.sleep(3)
            epoch = epoch_of(found.database)
            server.stop(number)
            answers.append(_answer_while_away(crew.leader.url))
            time.sleep(seconds)
            server.start()
            back = time.time()
            # It may have been written before we saw that PostgreSQL answers.
            times.append(max(0.0, since(0.0, await_takeover(found.database, epoch).written_at, "restart") - back))
            _follow(crew, epoch)
        clients.close()
        figures = took("PostgreSQL is back → first fenced write", times) | {"answers while it is away": answers}
        return Outcome(figures | found.audit(crew.leader))


def _answer_while_away(url: str) -> str:
    answer = httpx2.get(f"{url}/readyz", timeout=60.0)
    if answer.status_code != 503 or "retry-after" not in answer.headers:
        raise Violation(f"/readyz answered {answer.status_code} while the database is away: {answer.text}")
    if httpx2.get(f"{url}/healthz", timeout=5.0).status_code != 200:
        raise Violation("/healthz does not answer while the database is away")
    return f"{answer.status_code}, Retry-After {answer.headers['retry-after']}"


def pooled(server: PostgresServer) -> Outcome:
    """Behind a transaction pooler an instance serves, does not lead and says why; with a direct way beside it leads."""
    with arena(server, forked=True) as found:
        direct = found.start().ready()  # makes the schema
        with Pooler(server.port, found.database.rpartition("/")[2]) as pooler:
            behind = found.start(database=pooler.url).ready()
            status = _awaited_refusal(behind.url)
            if "pooler" not in status["refusal"] and "direct connection" not in status["refusal"]:
                raise Violation(f"the refusal does not say why: {status['refusal']}")
            served = _serves(behind)
            behind.kill()
            direct.stop()
            led = _serves(_leading(found, pooler.url))
            return Outcome({"refusal": status["refusal"], "role": behind.role, "served": served, "led": led})


def _leading(found: Arena, pooler_url: str) -> Process:
    beside = {"BACKBURNER_DATABASE_DIRECT_URL": found.database}
    leader = found.start(database=pooler_url, environ=beside).ready()
    until = time.monotonic() + 20
    while not _leads(leader.url)["is_leader"]:
        if time.monotonic() > until:
            raise Violation("with a direct way beside the pooler an instance does not lead")
        time.sleep(0.2)
    return leader


def _serves(server: Process) -> int:
    """So many batches are taken in one after the other, and end as they should."""
    with server.client() as client:
        made = [submit(client, request_lines(2)) for _ in range(BATCHES)]
        ended = [await_end(client, job["id"])["status"] for job in made]
    if server.popen.poll() is not None:
        raise Violation("an instance behind a pooler ended")
    if ended != ["completed"] * BATCHES:
        raise Violation(f"behind a pooler jobs ended {Counter(ended)}")
    return BATCHES


def _awaited_refusal(url: str) -> dict[str, Any]:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        status = _leads(url)
        if status["is_leader"]:
            raise Violation("an instance leads through a transaction pooler")
        if status["refusal"]:
            return status
        time.sleep(0.2)
    raise Violation("an instance behind a pooler says nothing")


def index_built() -> Outcome:
    """CREATE INDEX CONCURRENTLY gets through, with a leader and two that wait."""
    with running_server() as server, arena(server, forked=True) as found, ExitStack() as clients:
        crew = Crew(found, 2)
        clients.enter_context(found.workload())
        time.sleep(3)
        began = time.monotonic()
        with psycopg.connect(found.database, autocommit=True) as admin:
            admin.execute("SET statement_timeout = '30s'")
            admin.execute("CREATE INDEX CONCURRENTLY chaos_index ON results (batch_id)")
        figures = within(INDEX_LIMIT, [time.monotonic() - began], "CREATE INDEX CONCURRENTLY")
        clients.close()
        return Outcome(figures | found.audit(crew.leader))
