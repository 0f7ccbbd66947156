"""Real processes of the program, started, spoken to over HTTP, and killed with real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import msgspec

KEY = "bb_" + "k" * 32
SANDBOX_HEADERS = {"x-api-key": "any", "anthropic-version": "2023-06-01"}
PROGRAM = (sys.executable, "-m", "backburner")
BASE = {
    "BACKBURNER_BOOTSTRAP_KEY": KEY,
    "BACKBURNER_POLL_RUNNING_LLM_BATCHES_INTERVAL_SECONDS": "0.3",
    "BACKBURNER_POLL_JITTER_SECONDS": "0",
    "BACKBURNER_CALLBACK_ALLOW_PRIVATE_NETWORKS": "true",
    "BACKBURNER_PROVIDER": "sandbox",
    "BACKBURNER_HOST": "127.0.0.1",
    "BACKBURNER_PORT": "0",
}


@attrs.define(kw_only=True, eq=False)
class Process:
    """One process of the program that has said that it is ready."""

    popen: subprocess.Popen[str]
    url: str
    role: str | None
    log: Path

    def kill(self) -> None:
        """As a power cut does it."""
        self.popen.kill()
        self.popen.wait()

    def stop(self, timeout: float = 20.0) -> int:
        """As a service manager does it. Returns the exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout)

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, timeout=70.0)


def _start(arguments: tuple[str, ...], folder: Path, environ: Mapping[str, str], log: Path) -> subprocess.Popen[str]:
    with log.open("a") as errors:
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=folder,
            env={**os.environ, "BACKBURNER_PROFILE": str(folder / "profile.toml"), **environ},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


def run(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The program until it ends by itself."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=folder,
        env={**os.environ, "BACKBURNER_PROFILE": str(folder / "profile.toml"), **(environ or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def _closing(popen: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        popen.kill()
        popen.wait()
        assert popen.stdout is not None
        popen.stdout.close()


@attrs.define(kw_only=True, eq=False)
class Starting:
    """A server that was started and may not be ready yet."""

    popen: subprocess.Popen[str]
    log: Path
    known: Process | None = None  #: once it is ready

    def ready(self) -> Process:
        """Wait for it. Raises AssertionError with the end of its log when it ends instead."""
        if self.known is None:
            self.known = self._told()
        return self.known

    def _told(self) -> Process:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            event = msgspec.json.decode(line)
            if event["event"] == "ready":
                return Process(popen=self.popen, url=event["api"], role=event["role"], log=self.log)
        raise AssertionError(f"the server did not start: {self.log.read_text()[-3000:]}")


@contextmanager
def starting(
    folder: Path,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    log: str = "serve.log",
    start: Callable[[tuple[str, ...], Path, Mapping[str, str], Path], subprocess.Popen[str]] = _start,
) -> Iterator[Starting]:
    """A server in `folder`, on its way up, killed at the end if it still lives."""
    place = folder / log
    popen = start(("serve", "--log-format", "json", *arguments), folder, BASE | dict(environ or {}), place)
    with _closing(popen):
        yield Starting(popen=popen, log=place)


@contextmanager
def serve(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[Process]:
    """The same, when it is ready."""
    with starting(folder, *arguments, environ=environ) as server:
        yield server.ready()


@contextmanager
def sandbox(folder: Path, *arguments: str) -> Iterator[Process]:
    """A provider of its own, which outlives the servers that use it."""
    log = folder / "sandbox.log"
    popen = _start(("sandbox", "--port", "0", *arguments), folder, {}, log)
    with _closing(popen):
        assert popen.stdout is not None
        for line in popen.stdout:
            if "http://" in line:
                yield Process(popen=popen, url="http://" + line.split("http://")[1].split()[0], role=None, log=log)
                return
        raise AssertionError(f"the sandbox did not start: {log.read_text()[-3000:]}")


def using(provider: Process) -> dict[str, str]:
    """The settings of a server that uses a sandbox of its own process."""
    return {"BACKBURNER_ANTHROPIC_BASE_URL": provider.url}


def provider_batches(provider: Process) -> list[dict[str, Any]]:
    """Every batch that the sandbox has, newest first."""
    found: list[dict[str, Any]] = []
    while True:
        behind = f"&after_id={found[-1]['id']}" if found else ""
        answer = httpx2.get(f"{provider.url}/v1/messages/batches?limit=1000{behind}", headers=SANDBOX_HEADERS)
        page = answer.raise_for_status().json()
        found += page["data"]
        if not page["has_more"]:
            return found


def request_lines(count: int, *, text: str = "question") -> bytes:
    """That many requests as NDJSON."""
    return b"".join(
        msgspec.json.encode(
            {
                "custom_id": f"item-{number}",
                "params": {
                    "model": "claude-haiku-5-5",
                    "max_tokens": 64,
                    "messages": [{"role": "user", "content": f"{text} {number}"}],
                },
            }
        )
        + b"\n"
        for number in range(count)
    )


def submit(client: httpx2.Client, body: bytes, **options: str) -> dict[str, Any]:
    """Send a batch as NDJSON; returns the job."""
    answer = client.post("/v1/batches", content=body, params=options, headers={"content-type": "application/x-ndjson"})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def await_end(client: httpx2.Client, job_id: str) -> dict[str, Any]:
    """Wait for a job's end by the server's own long answers."""
    while True:
        job = dict(client.get(f"/v1/jobs/{job_id}", params={"wait": "20"}).raise_for_status().json())
        if job["completed_at"]:
            return job


def listed(client: httpx2.Client, path: str) -> Iterator[dict[str, Any]]:
    """Every object of a list, page by page. `path` has a query."""
    after = ""
    while True:
        page = client.get(f"{path}&limit=1000{after}").raise_for_status().json()
        yield from page["data"]
        if not page["has_more"]:
            return
        after = f"&after={page['last_id']}"


def results(client: httpx2.Client, job_id: str) -> list[dict[str, Any]]:
    """A job's results, decoded."""
    text = client.get(f"/v1/batches/{job_id}/results").raise_for_status().content
    return [msgspec.json.decode(line) for line in text.splitlines()]
