"""Handlers of three kinds, for `backburner serve --app examples.handlers:app` and `POST /v1/jobs`."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import trio

from backburner import App

app = App()

Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]


@app.handler("probe", concurrency=50, timeout_seconds=30, max_attempts=5)
async def probe(ctx: Any, host: str, ports: list[int]) -> dict[str, bool]:
    """Which of these TCP ports of a host answer: waiting is what tasks are for."""
    found: dict[str, bool] = {}
    for done, port in enumerate(ports):
        ctx.progress(done, len(ports), f"port {port}")
        with trio.move_on_after(2) as scope:
            try:
                stream = await trio.open_tcp_stream(host, port)
            except OSError:
                found[str(port)] = False
            else:
                await stream.aclose()
                found[str(port)] = True
        if scope.cancelled_caught:
            found[str(port)] = False
    return found


class Digest(msgspec.Struct):
    path: str
    size: int
    sha256: str


@app.handler("digest", concurrency=4, stuck_after_seconds=60)
def digest(ctx: Any, path: str) -> Digest:
    """The hash of a file: a `def` runs in a thread, and asks now and then whether it is to stop."""
    total, hashed, found = Path(path).stat().st_size, 0, hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1024 * 1024):
            ctx.check()
            found.update(block)
            hashed += len(block)
            ctx.progress(hashed, total)
    return Digest(path=path, size=hashed, sha256=found.hexdigest())


@app.handler("primes", cpu=True, timeout_seconds=600, memory_mb=512)
def primes(ctx: Any, below: Annotated[int, msgspec.Meta(ge=2, le=50_000_000)]) -> int:
    """How many primes there are below a number: `cpu=True` runs in a process, which can be killed.

    With `executor="dask"` in its place it would run on a Dask cluster.
    """
    sieve = bytearray([1]) * below
    sieve[0:2] = b"\0\0"
    for number in range(2, int(below**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, below, number)))
            ctx.progress(number, int(below**0.5))
    return sum(sieve)


@app.handler("nap")
async def nap(seconds: Seconds = 0.0) -> float:
    """Wait a while."""
    await trio.sleep(seconds)
    return time.monotonic()
