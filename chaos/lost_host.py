"""The host of the database loses its power, and another takes its address: nothing tells the connections to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import httpx2
from tests.postgres import running_server
from tests.processes.harness import Process

from chaos.arena import arena
from chaos.ledger import Violation
from chaos.office import await_takeover, epoch_of
from chaos.outcome import Outcome, since, within

US, THEM, PORT = "10.213.77.1", "10.213.77.2", 5432
RETURN_LIMIT = 20.0  # seconds from the host's return until the instance leads and takes requests
STOP_LIMIT = 20.0  # the settings' grace, and a little: an ordered stop that cannot end is cut short
RETURN = "host is back → first fenced write"


class CannotRun(Exception):
    """This machine does not let a scenario run."""


@attrs.define(eq=False)
class Network:
    """A bridge, and at most one host on it. What a host knows of connections goes with it."""

    target: Path  #: the Unix socket that the host's port leads to
    bridge: str = attrs.field(factory=lambda: f"bb{os.getpid()}")
    _relay: subprocess.Popen[str] | None = attrs.field(default=None, init=False)

    def __enter__(self) -> Network:
        try:
            _ip("link", "add", self.bridge, "type", "bridge")
            _ip("address", "add", f"{US}/24", "dev", self.bridge)
            _ip("link", "set", self.bridge, "up")
            _ip("netns", "add", self.bridge)
        except OSError as error:  # no program ip, no right, or no such thing in this kernel
            self.__exit__()
            raise CannotRun(f"no network namespaces can be made here ({error})") from error
        _ip("netns", "delete", self.bridge)
        return self

    def __exit__(self, *_: object) -> None:
        if self._relay is not None:
            self._end_relay(self._relay)
        for command in (("netns", "delete", self.bridge), ("link", "delete", self.bridge)):
            with contextlib.suppress(OSError):
                _ip(*command)

    def power_on(self) -> None:
        """A host with the database's address that has never heard of a connection."""
        inside, outside = f"{self.bridge}i", f"{self.bridge}o"
        _ip("netns", "add", self.bridge)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", self.bridge)
        _ip("link", "set", outside, "master", self.bridge, "up")
        _ip("-n", self.bridge, "address", "add", f"{THEM}/24", "dev", inside)
        _ip("-n", self.bridge, "link", "set", inside, "up")
        relay = str(Path(__file__).with_name("relay.py"))
        self._relay = subprocess.Popen(
            ("ip", "netns", "exec", self.bridge, sys.executable, relay, THEM, str(PORT), str(self.target)),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._relay.stdout is not None
        if self._relay.stdout.readline() != "ready\n":
            raise AssertionError("the relay did not start")

    def power_off(self) -> None:
        """What was asked just now has arrived and is never answered; nobody hears that the host is gone."""
        assert self._relay is not None
        self._relay.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        _ip("-n", self.bridge, "link", "set", f"{self.bridge}i", "down")
        self._end_relay(self._relay)
        _ip("link", "delete", f"{self.bridge}o")
        _ip("netns", "delete", self.bridge)

    def _end_relay(self, relay: subprocess.Popen[str]) -> None:
        relay.kill()
        relay.wait()
        assert relay.stdout is not None
        relay.stdout.close()
        self._relay = None


def _ip(*words: str) -> None:
    done = subprocess.run(("ip", *words), check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextmanager
def _open_folder() -> Iterator[Path]:
    """For PostgreSQL's socket: its user is another one."""
    folder = Path(tempfile.mkdtemp(prefix="bb-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def host_gone(away: float) -> Outcome:
    """One instance whose database moves under it: it leads again soon, loses nothing, and can be stopped meanwhile."""
    with ExitStack() as stack:
        folder = stack.enter_context(_open_folder())
        network = stack.enter_context(Network(folder / "database"))
        server = stack.enter_context(running_server(unix_socket_directories=str(folder)))
        network.target = folder / f".s.PGSQL.{server.port}"
        found = stack.enter_context(arena(server, forked=True))
        network.power_on()
        instance = found.start(
            database=f"postgresql://postgres@{THEM}:{PORT}/{found.database.rpartition('/')[2]}"
        ).ready()
        found.url = instance.url
        with found.workload():
            time.sleep(5)
            epoch = epoch_of(found.database)
            network.power_off()
            time.sleep(away)
            network.power_on()
            back = time.time()
            returned = since(back, await_takeover(found.database, epoch).written_at, RETURN)
            served = _served_again(instance, back)
        figures = within(RETURN_LIMIT, [returned], RETURN) | within(RETURN_LIMIT, [served], "host is back → ready")
        figures |= found.audit(instance)
        network.power_off()
        return Outcome(figures | within(STOP_LIMIT, [_stopped(instance)], "SIGTERM without the host → exit"))


def _served_again(instance: Process, back: float) -> float:
    """Seconds from the host's return until the instance is ready."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(f"{instance.url}/readyz", timeout=5.0).status_code == 200:
                return time.time() - back
        time.sleep(0.1)
    raise Violation("the instance is not ready a minute after its database is back")


def _stopped(instance: Process) -> float:
    began = time.monotonic()
    instance.popen.send_signal(signal.SIGTERM)
    instance.popen.wait(60)
    return time.monotonic() - began
