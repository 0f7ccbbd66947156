"""kill -9 of the leader, again and again, in the middle of a submission, an ingest or a delivery."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Any

import attrs
from tests.postgres import PostgresServer
from tests.processes.harness import Process

from chaos.arena import arena
from chaos.crew import Crew
from chaos.ledger import Violation
from chaos.office import await_takeover, epoch_of
from chaos.outcome import Outcome, mostly_within, since, took

KINDS = ("submit", "ingest", "deliver")
LATEST = 0.05  # seconds after the moment that was waited for
TERM_LIMIT = 2.0  # seconds from a kill to the next term, on PostgreSQL
KILLED, WROTE = "kill → next term", "kill → first fenced write"
NOTHING_HAPPENS = 20.0  # seconds after which it is killed anyway


@attrs.define(eq=False)
class Trigger:
    """Kills a process when something happens, or a moment later. Called from many threads."""

    random: Random
    _kind: str | None = attrs.field(default=None, init=False)
    _victim: Process | None = attrs.field(default=None, init=False)
    _fired: threading.Event = attrs.field(factory=threading.Event, init=False)
    killed_at: float = attrs.field(default=0.0, init=False)  #: seconds since 1970

    def arm(self, kind: str, victim: Process) -> None:
        self._fired.clear()
        self._victim, self._kind = victim, kind

    def saw(self, kind: str) -> None:
        if kind != self._kind:
            return
        self._kind = None
        # At once: before the request is passed on, so that it takes effect and nobody hears the answer.
        if self.random.random() < 0.3:
            self._fire()
        else:
            threading.Timer(self.random.uniform(0, LATEST), self._fire).start()

    def await_kill(self) -> bool:
        """Whether it was killed at the moment that was waited for."""
        in_time = self._fired.wait(NOTHING_HAPPENS)
        if not in_time:
            self._kind = None
            self._fire()
        return in_time

    def _fire(self) -> None:
        assert self._victim is not None
        self.killed_at = time.time()
        self._victim.popen.kill()
        self._fired.set()


def kill_loop(
    database: PostgresServer | None,
    kills: int,
    *,
    seed: int = 0,
    until: float = float("inf"),
    forked: bool = True,
    progress: Callable[[str], None] = print,
) -> Outcome:
    """That many kills, or fewer when `until` (on the monotonic clock) comes before."""
    trigger = Trigger(Random(seed))
    with arena(database, on_event=trigger.saw, forked=forked) as found, ExitStack() as clients:
        crew = Crew(found)
        clients.enter_context(found.workload(seed=seed))
        terms, writes, hits = [], [], 0
        for number in range(kills):
            if time.monotonic() > until:
                break
            epoch = epoch_of(found.database)
            trigger.arm(KINDS[number % len(KINDS)], crew.leader)
            hits += trigger.await_kill()
            crew.replace(epoch)
            term = await_takeover(found.database, epoch)
            terms.append(since(trigger.killed_at, term.acquired_at, KILLED))
            writes.append(since(trigger.killed_at, term.written_at, WROTE))
            if number % 10 == 9:
                progress(f"{number + 1} kills, {len(found.ledger.jobs)} jobs")
        clients.close()
        if not terms:
            raise Violation("nobody was killed")
        figures: dict[str, Any] = {"kills": len(terms), "at the chosen moment": hits}
        figures |= took(KILLED, terms) if found.is_sqlite else mostly_within(TERM_LIMIT, terms, KILLED)
        figures |= took(WROTE, writes)
        return Outcome(figures=figures | found.audit(crew.leader))
