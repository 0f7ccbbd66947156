"""Starts servers by forking a process that has loaded the program: real processes, without a second of imports each."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, Self

DEAD = 137  # what is told of a process whose exit status nobody has heard: it was killed


class Forked:
    """A grandchild, with as much of `subprocess.Popen` as the harness uses."""

    def __init__(self, pid: int, stdout: IO[str]) -> None:
        self.pid = pid
        self.stdout = stdout
        self._pidfd = os.pidfd_open(pid)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        return DEAD if select.select([self._pidfd], [], [], 0)[0] else None

    def wait(self, timeout: float | None = None) -> int:
        if not select.select([self._pidfd], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return DEAD


class Zygote:
    """Forks on request, while the `with` block runs. Its children outlive it."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def start(self, arguments: tuple[str, ...], folder: Path, environ: Mapping[str, str], log: Path) -> Any:
        """A process of the program, as the harness would start it."""
        pipe = folder / f"stdout-{time.monotonic_ns()}"
        os.mkfifo(pipe)
        profile = {"BACKBURNER_PROFILE": str(folder / "profile.toml")}
        wanted = {"arguments": arguments, "folder": str(folder), "log": str(log), "stdout": str(pipe)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**wanted, "environ": profile | dict(environ)}) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        stdout = pipe.open()
        pipe.unlink()
        return Forked(pid, stdout)


@cache
def shared() -> Zygote:
    """One for this process, until it ends: loading the program takes longer than many scenarios."""
    zygote = Zygote()
    atexit.register(zygote.__exit__)
    return zygote.__enter__()


def main() -> None:
    """Fork for each line of standard input."""
    import backburner.cli.serve  # noqa: PLC0415
    import backburner.http.app  # noqa: PLC0415
    import backburner.providers.anthropic_calls  # noqa: F401, PLC0415
    from backburner.__main__ import run  # noqa: PLC0415

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _become(wanted)
            os._exit(run(wanted["arguments"]))
        print(pid, flush=True)


def _become(wanted: Mapping[str, Any]) -> None:
    os.chdir(wanted["folder"])
    os.environ |= wanted["environ"]
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    stdout = os.open(wanted["stdout"], os.O_WRONLY)
    for number, opened in enumerate((null, stdout, log)):
        os.dup2(opened, number)


if __name__ == "__main__":
    main()
