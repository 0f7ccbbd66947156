"""Servers on one database: who leads, and who waits."""

from __future__ import annotations

import attrs
from tests.processes.harness import Process, Starting

from chaos.arena import Arena
from chaos.office import leader_pid

STANDBYS = 2


@attrs.define(eq=False)
class Crew:
    """A leader and those who wait for its office. On SQLite they are not ready before they have it."""

    arena: Arena
    standbys: int = STANDBYS
    arguments: tuple[str, ...] = ()  #: of each server's command line
    leader: Process = attrs.field(init=False)
    _waiting: list[Starting] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.leader = self.arena.start(*self.arguments).ready()
        self.arena.url = self.leader.url
        self._waiting = [self._start() for _ in range(self.standbys)]

    def _start(self) -> Starting:
        return self.arena.start(*self.arguments, *(("--standby",) if self.arena.is_sqlite else ()))

    def replace(self, epoch: int) -> None:
        """Find out who leads after the leader's death, and start another who waits."""
        self.leader.popen.wait()
        self._waiting.append(self._start())
        self.find_leader(epoch)

    def depose(self, epoch: int) -> Process:
        """Find out who leads instead of the leader, who lives and waits from now on. Returns the old one."""
        old = self.leader
        self._waiting.append(Starting(popen=old.popen, log=old.log, known=old))
        self.find_leader(epoch)
        return old

    def find_leader(self, epoch: int) -> None:
        """Whoever leads in the first term after `epoch`."""
        pid = leader_pid(self.arena.database, after=epoch)
        if pid == self.leader.popen.pid:
            return
        (heir,) = (each for each in self._waiting if each.popen.pid == pid)
        self._waiting.remove(heir)
        self.leader = heir.ready()
        self.arena.url = self.leader.url
