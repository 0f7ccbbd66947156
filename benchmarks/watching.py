"""Servers in processes of their own, and what can be seen of them from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import attrs
import httpx2
import msgspec
from tests.processes.harness import BASE, KEY

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTE = 1024 * 1024
SERVER = Path(__file__).resolve().with_name("watched_server.py")


@attrs.frozen(kw_only=True)
class Watched:
    """A running server."""

    popen: subprocess.Popen[str]
    url: str
    stalls: Path

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, timeout=120.0)

    def longest_stall(self, since: float, until: float) -> float:
        """Seconds for which its event loop was held up at most, of those that ended or began in between."""
        noted = (line.split() for line in self.stalls.read_text().splitlines())
        return max((float(late) for at, late in noted if since <= float(at) <= until), default=0.0)

    def rss(self) -> float:
        """Resident memory now, in MB."""
        pages = int(Path(f"/proc/{self.popen.pid}/statm").read_text().split()[1])
        return pages * PAGE / MEGABYTE


def processor_time(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def watched_server(folder: Path, environ: Mapping[str, str]) -> Iterator[Watched]:
    """A server in `folder`, killed at the end."""
    stalls = folder / "stalls.txt"
    with (folder / "server.log").open("a") as errors:
        popen = subprocess.Popen(
            [sys.executable, "-P", str(SERVER), str(stalls)],
            cwd=folder,  # where an embedded provider leaves its state beside a PostgreSQL
            env={**os.environ, **BASE, "BACKBURNER_DATABASE_URL": f"sqlite:///{folder}/bench.db", **environ},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert popen.stdout is not None
        ready = popen.stdout.readline()
        if not ready:
            raise RuntimeError(f"the server did not start: {(folder / 'server.log').read_text()[-2000:]}")
        yield Watched(popen=popen, url=msgspec.json.decode(ready)["api"], stalls=stalls)
    finally:
        popen.kill()
        popen.wait()


class Sampler:
    """A thread that looks at something again and again while the `with` block runs."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def look(self) -> None:
        """Take one sample."""
        raise NotImplementedError

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            self.look()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Memory(Sampler):
    """How much a server's resident memory has grown at most, in MB."""

    def __init__(self, server: Watched) -> None:
        super().__init__(0.02)
        self._server = server
        self._before = server.rss()
        self.growth = 0.0

    def look(self) -> None:
        self.growth = max(self.growth, self._server.rss() - self._before)


class Latency(Sampler):
    """How long `GET /v1/jobs/{id}` takes, and what it says."""

    def __init__(self, server: Watched, job_id: str) -> None:
        super().__init__(0.02)
        self._client = server.client()
        self._path = f"/v1/jobs/{job_id}"
        self.samples: list[tuple[float, float]] = []  # (monotonic second, seconds it took)
        self.job: dict[str, Any] = {}

    def look(self) -> None:
        began = time.monotonic()
        answer = self._client.get(self._path).raise_for_status()
        self.samples.append((began, time.monotonic() - began))
        self.job = answer.json()

    def within(self, since: float, until: float) -> list[float]:
        return [took for at, took in self.samples if since <= at <= until]
